//! Named checks and the report over them.

use std::fmt::Write as _;
use std::sync::Arc;

/// One question with a name; `Err` says what is wrong, in words for an operator.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    ask: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

impl Check {
    pub fn new(name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { name, ask: Arc::new(ask) }
    }
}

/// What all checks of a list answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub healthy: bool,
    /// One line a check: `ok NAME` or `failed NAME: why`.
    pub text: String,
}

pub(super) fn report(checks: &[Check]) -> Report {
    let mut report = Report { healthy: true, text: String::new() };
    for check in checks {
        let line = match (check.ask)() {
            Ok(()) => writeln!(report.text, "ok {}", check.name),
            Err(why) => {
                report.healthy = false;
                writeln!(report.text, "failed {}: {why}", check.name)
            }
        };
        debug_assert!(line.is_ok(), "writing to a String does not fail");
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_fails_the_list_and_says_why() {
        let good = Check::new("broker", || Ok(()));
        let bad = Check::new("store", || Err("the disk is full".to_owned()));
        assert_eq!(report(&[]), Report { healthy: true, text: String::new() });
        assert_eq!(report(std::slice::from_ref(&good)), Report { healthy: true, text: "ok broker\n".to_owned() });
        let text = "ok broker\nfailed store: the disk is full\n".to_owned();
        assert_eq!(report(&[good, bad]), Report { healthy: false, text });
    }
}
