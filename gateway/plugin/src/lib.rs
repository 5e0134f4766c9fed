//! The author's tools: `tidegate plugin new | build | test | inspect | bench | replay`.
