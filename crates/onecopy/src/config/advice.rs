//! What a configuration says that is no mistake, and hardly meant.

use super::Config;

/// What the kernel shows for every user that it can't translate into this user name space: `nobody`.
const OVERFLOW_UID: u32 = 65_534;

/// Something to think about.
///
/// ```
/// use onecopy::config::{Accounts, Config};
///
/// // Somebody is allowed something, and nobody is let in.
/// let text = "[[allow]]\nusers = [7]\nrights = [\"call\"]\nnames = [\"a\"]\n";
/// let config = Config::parse("lab.toml".as_ref(), text, &Accounts::default())?;
/// assert!(config.advice()[0].message.contains("nobody is admitted"));
/// # Ok::<(), onecopy::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Where, if it is about one rule.
    pub line: Option<u32>,
    /// What, and what to do.
    pub message: String,
}

impl Config {
    /// What is worth a second look in it; see [`Advice`] for an example.
    pub fn advice(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        let mut add = |line, message: String| advice.push(Advice { line, message });
        if self.admit.uids.contains(&OVERFLOW_UID) || self.admit.gids.contains(&OVERFLOW_UID) {
            let message = format!(
                "{OVERFLOW_UID} (nobody) is admitted: the kernel shows all users of other user name spaces, such as containers', as this one; give the program a user of its own"
            );
            add(None, message);
        }
        if self.admit.is_empty() && !self.rules.is_empty() {
            let message = "there are rules, and nobody is admitted: name users or groups under [admit]";
            add(None, message.to_owned());
        }
        for rule in self.rules.iter().filter(|_| !self.admit.is_empty()) {
            let is_let_in = |uid: &&u32| self.admit.uids.contains(uid) || Some(**uid) == self.owner;
            // Whoever is not named may be in a group that is.
            let strangers = rule.subjects.uids.iter().filter(|uid| !is_let_in(uid));
            for uid in strangers.filter(|_| self.admit.gids.is_empty()) {
                let message = format!(
                    "the rule is about user {uid}, who is not admitted: name it under [admit] as well"
                );
                add(Some(rule.line), message);
            }
            if self.owner.is_some_and(|owner| rule.denies && rule.subjects.uids.contains(&owner)) {
                let message = "the rule denies something to the owner, who may do everything: it has no effect on that user";
                add(Some(rule.line), message.to_owned());
            }
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::super::Accounts;
    use super::*;

    fn advice(text: &str) -> Vec<Advice> {
        Config::parse("lab.toml".as_ref(), text, &Accounts::default()).unwrap().advice()
    }

    #[test]
    fn what_is_hardly_meant_is_told() {
        let rule = |uid: u32| format!("[[allow]]\nusers = [{uid}]\nrights = [\"call\"]\nnames = [\"a\"]\n");
        assert_eq!(advice(&format!("[admit]\nusers = [7]\n{}", rule(7))), []);
        assert_eq!(advice(&format!("[admit]\ngroups = [7]\n{}", rule(8))), []);
        let told = advice(&format!("[admit]\nusers = [7]\n{}", rule(8)));
        assert!(told[0].line == Some(3) && told[0].message.contains("user 8"), "{told:?}");
        assert!(advice(&rule(7))[0].message.contains("nobody is admitted"));
        assert!(advice("[admit]\nusers = [65534]\n")[0].message.contains("nobody"));
        let text = "owner = 5\n[admit]\nusers = [7]\n".to_owned() + &rule(5).replace("allow", "deny");
        assert!(advice(&text)[0].message.contains("owner"));
    }
}
