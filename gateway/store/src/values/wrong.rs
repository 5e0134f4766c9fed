//! Why a value is refused.

use tidegate_types::problem::{Problem, ProblemKind, codes};

/// Why a value is refused, before it is known of which column it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// PostgreSQL refuses it.
    Refused {
        /// Its SQLSTATE.
        code: &'static str,
        /// Its message.
        message: String,
        /// Its detail.
        detail: Option<String>,
    },
    /// PostgreSQL may take it, and it is not certain as what.
    Unsure {
        /// What to send instead.
        send: &'static str,
    },
}

impl Wrong {
    pub(super) fn new(code: &'static str, message: String) -> Self {
        Self::Refused { code, message, detail: None }
    }

    /// 22P02
    pub(super) fn syntax(type_name: &str, text: &str) -> Self {
        Self::new("22P02", format!("invalid input syntax for type {type_name}: \"{text}\""))
    }

    /// As the client sees it.
    pub(super) fn of_column(self, column: &str) -> Problem {
        match self {
            Self::Refused { code, message, detail } => {
                let mut problem = Problem::new(ProblemKind::BadRequest, code, message);
                problem.details = detail;
                problem
            }
            Self::Unsure { send } => Problem::new(
                ProblemKind::BadRequest,
                codes::VALUE_FORM,
                format!(
                    "The value of column \"{column}\" has a form that cannot be acknowledged before the database has it"
                ),
            )
            .details("Nothing was written.")
            .hint(format!("Send {send}.")),
        }
    }
}
