//! Texts that claim to be a configuration. Whatever is read decides about everybody and every name without a
//! panic, and what it decides follows its own rules: who is not admitted may nothing, and a rule that allows
//! has a line of the file.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use onecopy::config::{Accounts, Action, Config, ConfigError, Decision, Kind, NamePattern, Right, Who};

const PASSWD: &str = "robot:x:500:500::/:\ncamera:x:1001:1001::/:\n";
const GROUP: &str = "robotics:x:2000:camera\n";

fuzz_target!(|input: (String, String, String, u32)| {
    let (text, name, pattern, uid) = input;
    let accounts = Accounts::parse(PASSWD, GROUP);
    check(&text, &name, uid, &accounts);
    // Most texts fail at the first table; with sound ones around them they get further.
    let quoted = format!("{pattern:?}");
    check(&format!("[admit]\nusers = [\"camera\"]\n{text}"), &name, 1001, &accounts);
    let rule =
        format!("[admit]\nusers = [{uid}]\n[[allow]]\nrights = [\"publish\"]\nnames = [{quoted}]\n{text}");
    check(&rule, &name, uid, &accounts);
    if let Ok(pattern) = pattern.parse::<NamePattern>() {
        // A pattern without stars matches itself and nothing else.
        if !pattern.as_str().contains('*') {
            assert_eq!(pattern.matches(&name), pattern.as_str() == name);
        }
        let everything: NamePattern = "**".parse().unwrap();
        assert!(everything.matches(&name));
        let _ = pattern.matches(&name);
    }
    let _ = Accounts::parse(&text, &pattern).gids_of(uid);
});

fn check(text: &str, name: &str, uid: u32, accounts: &Accounts) {
    let lines = text.lines().count().max(1);
    let config = match Config::parse("fuzz.toml".as_ref(), text, accounts) {
        Ok(config) => config,
        Err(ConfigError::Content { line, column, message, .. }) => {
            assert!((1..=lines + 1).contains(&(line as usize)) && column > 0 && !message.is_empty());
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let _ = config.advice();
    for gids in [vec![], vec![2000], accounts.gids_of(uid)] {
        let who = Who { uid, gids };
        let mut actions = vec![Action::Admin];
        for kind in Kind::ALL {
            actions.extend(kind.rights().map(|right| Action::Named { right, kind, name }));
        }
        for action in actions {
            let decision = config.decide(&who, action);
            assert_eq!(decision == Decision::NotAdmitted, !config.admits(&who));
            if let Decision::Allowed { line } | Decision::Denied { line } = decision {
                assert!((1..=lines).contains(&(line as usize)), "line {line} of {lines}");
            }
            // Who may write a region may read it, unless reading is denied.
            if let Action::Named { right: Right::Write, kind: Kind::Region, .. } = action
                && decision.is_allowed()
            {
                let read = Action::Named { right: Right::Read, kind: Kind::Region, name };
                assert!(matches!(
                    config.decide(&who, read),
                    Decision::Allowed { .. } | Decision::Denied { .. }
                ));
            }
        }
        let _ = (config.allowance(&who, false), config.allowance(&who, true));
    }
}
