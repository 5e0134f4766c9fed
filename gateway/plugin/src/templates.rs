//! The templates of `sdk/templates`, and filling them in.
//!
//! A template is a folder of text files. In contents and paths, `{{name}}`, `{{name_snake}}` and
//! `{{sdk}}` are replaced. Lines from one that holds `{{#HOOK}}` to one that holds `{{/HOOK}}` stay
//! only where that hook was asked for; from `{{^HOOK}}` on, only where it was not. The marking lines
//! themselves never stay, so they may be comments of any language.

use tidegate_policy::hook::Hook;

use crate::error::PluginError;

/// One language's template.
#[derive(Debug)]
pub struct Template {
    /// The name of its folder, as `--lang` takes it.
    pub language: &'static str,
    /// Paths and contents.
    pub files: &'static [(&'static str, &'static str)],
}

/// Every template, by language.
static TEMPLATES: &[Template] = &include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// What a template without marked lines answers.
const PLAIN: &[Hook] = &[Hook::Route];

/// The languages there are templates for.
#[must_use]
pub fn languages() -> Vec<&'static str> {
    TEMPLATES.iter().map(|template| template.language).collect()
}

/// The template for a language.
#[must_use]
pub fn named(language: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.language == language)
}

/// What is filled into a template.
#[derive(Debug, Clone)]
pub struct Values {
    /// The policy's name.
    pub name: String,
    /// The folder with the SDKs.
    pub sdk: String,
    /// The hooks it answers.
    pub hooks: Vec<Hook>,
}

impl Template {
    /// The hooks it can answer.
    #[must_use]
    pub fn hooks(&self) -> Vec<Hook> {
        let marked = |hook: &Hook| {
            let mark = format!("{{{{#{}}}}}", hook.as_str());
            self.files.iter().any(|(_, content)| content.contains(&mark))
        };
        let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(marked).collect();
        if hooks.is_empty() { PLAIN.to_vec() } else { hooks }
    }

    /// Its files, filled in. Files of which nothing is left are left out.
    ///
    /// # Errors
    /// It cannot answer one of the hooks, or its marks do not pair up.
    pub fn fill(&self, values: &Values) -> Result<Vec<(String, String)>, PluginError> {
        let offered = self.hooks();
        if let Some(hook) = values.hooks.iter().find(|hook| !offered.contains(hook)) {
            let offered = offered.iter().map(|hook| hook.as_str()).collect::<Vec<_>>().join(", ");
            return Err(PluginError::NoSuchHook { language: self.language, hook: hook.as_str(), offered });
        }
        let mut filled = Vec::new();
        for (path, content) in self.files {
            let chosen = choose(content, &values.hooks).map_err(|detail| PluginError::Template {
                language: self.language,
                path,
                detail,
            })?;
            if !chosen.is_empty() || content.is_empty() {
                filled.push((replace(path, values), replace(&chosen, values)));
            }
        }
        Ok(filled)
    }
}

/// The name in the form that many languages want of identifiers.
#[must_use]
pub fn snake(name: &str) -> String {
    name.replace('-', "_")
}

fn replace(text: &str, values: &Values) -> String {
    text.replace("{{name}}", &values.name)
        .replace("{{name_snake}}", &snake(&values.name))
        .replace("{{sdk}}", &values.sdk)
}

/// What a line says about the lines after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// From here on only with the hook.
    With(Hook),
    /// From here on only without it.
    Without(Hook),
    /// In any case again.
    End(Hook),
}

fn mark(line: &str) -> Option<Mark> {
    let start = line.find("{{")? + 2;
    let inner = &line[start..start + line[start..].find("}}")?];
    let kind: fn(Hook) -> Mark = match inner.chars().next()? {
        '#' => Mark::With,
        '^' => Mark::Without,
        '/' => Mark::End,
        _ => return None,
    };
    Hook::ALL.into_iter().find(|hook| hook.as_str() == &inner[1..]).map(kind)
}

/// The lines that stay with these hooks.
fn choose(content: &str, hooks: &[Hook]) -> Result<String, String> {
    let mut open: Vec<Mark> = Vec::new();
    let mut chosen = String::with_capacity(content.len());
    for (number, line) in content.split_inclusive('\n').enumerate() {
        match mark(line) {
            None => {
                let stays = open.iter().all(|mark| match mark {
                    Mark::With(hook) => hooks.contains(hook),
                    Mark::Without(hook) => !hooks.contains(hook),
                    Mark::End(_) => true,
                });
                if stays {
                    chosen.push_str(line);
                }
            }
            Some(Mark::End(hook)) => match open.pop() {
                Some(Mark::With(of) | Mark::Without(of)) if of == hook => {}
                _ => return Err(format!("line {}: the end of {} has no start", number + 1, hook.as_str())),
            },
            Some(start) => open.push(start),
        }
    }
    match open.first() {
        Some(mark) => Err(format!("{mark:?} has no end")),
        None => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{project::Manifest, vectors::Vectors};

    fn values(hooks: &[Hook]) -> Values {
        Values { name: "my-policy".into(), sdk: "/sdk".into(), hooks: hooks.to_vec() }
    }

    const MARKED: Template = Template {
        language: "test",
        files: &[
            (
                "src/{{name_snake}}.x",
                "name {{name}}\n// {{#route}}\nroute\n// {{/route}}\n  // {{^route}}\nno route\n// {{/route}}\n",
            ),
            ("only.json", "{{#classify}}\n[\"{{sdk}}\"]\n{{/classify}}\n"),
        ],
    };

    #[test]
    fn placeholders_and_marked_lines_are_filled_in() {
        let with = MARKED.fill(&values(&[Hook::Route])).expect("filled");
        assert_eq!(with, [("src/my_policy.x".to_owned(), "name my-policy\nroute\n".to_owned())]);
        let without = MARKED.fill(&values(&[Hook::Classify])).expect("filled");
        assert_eq!(without[0].1, "name my-policy\nno route\n");
        assert_eq!(without[1], ("only.json".to_owned(), "[\"/sdk\"]\n".to_owned()));
    }

    #[test]
    fn a_hook_that_the_template_lacks_is_refused_with_those_it_has() {
        let error = MARKED.fill(&values(&[Hook::Invalidate])).expect_err("refused").to_string();
        assert_eq!(
            error,
            "the test template has no invalidate hook. It has: classify, route. Leave --hook out, and follow the SDK's README from there"
        );
        let plain = Template { language: "test", files: &[("a", "")] };
        assert_eq!(plain.hooks(), [Hook::Route]);
    }

    #[test]
    fn marks_that_do_not_pair_up_are_told_by_line() {
        for (content, says) in [
            ("a\n{{/route}}\n", "line 2: the end of route has no start"),
            ("{{#route}}\n{{/classify}}\n", "line 2: the end of classify has no start"),
            ("{{#route}}\n", "With(Route) has no end"),
        ] {
            assert_eq!(choose(content, &[]), Err(says.to_owned()));
        }
    }

    #[test]
    fn every_template_can_be_filled_in_for_each_of_its_hooks_and_all_together() {
        for template in TEMPLATES {
            let hooks = template.hooks();
            let choices = hooks.iter().map(|hook| vec![*hook]).chain([hooks.clone()]);
            for choice in choices {
                let files = template.fill(&values(&choice)).expect("filled");
                let of = |name: &str| match files.iter().find(|(path, _)| path == name) {
                    Some((_, content)) => content,
                    None => panic!("{} lacks {name}", template.language),
                };
                for (path, content) in &files {
                    assert!(!path.contains("{{") && !content.contains("{{"), "{}/{path}", template.language);
                }
                of("README.md");
                toml::from_str::<Manifest>(of("policy.toml")).expect("policy.toml");
                let vectors = Vectors::parse(of("vectors.json")).expect("vectors.json");
                for hook in choice {
                    let asked = vectors.sets.iter().flat_map(|set| &set.cases).any(|case| case.ask.hook == hook);
                    assert!(asked, "{}: no vector asks {}", template.language, hook.as_str());
                }
            }
        }
    }
}
