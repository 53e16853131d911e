//! The configuration file's text, read: TOML with the tables that `docs/access.md` describes, checked as a whole.
//! Whatever is wrong is told with its line and column.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::accounts::Accounts;
use super::error::ConfigError;
use super::quotas::{Allowance, UserQuota};
use super::rules::{Kind, Right, Rule, Subjects};
use super::{Config, NamePattern};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    owner: Option<Spanned<Account>>,
    #[serde(default)]
    admit: SubjectLists,
    #[serde(default)]
    allow: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    deny: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    quota: Vec<Spanned<QuotaTable>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a user or group: its number, or its name in quotes")]
enum Account {
    Number(u32),
    Name(String),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectLists {
    #[serde(default)]
    users: Vec<Spanned<Account>>,
    #[serde(default)]
    groups: Vec<Spanned<Account>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    users: Option<Vec<Spanned<Account>>>,
    groups: Option<Vec<Spanned<Account>>>,
    rights: Spanned<Vec<Spanned<Right>>>,
    names: Option<Spanned<Vec<Spanned<String>>>>,
    kinds: Option<Spanned<Vec<Kind>>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaTable {
    users: Option<Vec<Spanned<Account>>>,
    groups: Option<Vec<Spanned<Account>>>,
    memory: Option<Spanned<Size>>,
    descriptors: Option<u64>,
    nodes: Option<u64>,
    topics: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a number of bytes, or a text such as \"64 MiB\"")]
enum Size {
    Bytes(u64),
    Text(String),
}

/// Where something stands in the text.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    accounts: &'a Accounts,
}

/// Reads the text of the file at `path`.
pub(super) fn parse(path: &Path, text: &str, accounts: &Accounts) -> Result<Config, ConfigError> {
    let source = Source { path, text, accounts };
    let document: Document = toml::from_str(text)
        .map_err(|error| source.error(&error.span().unwrap_or_default(), error.message().trim_end()))?;
    let owner = document.owner.map(|owner| source.uid(&owner)).transpose()?;
    let admit = source.subjects(&document.admit.users, &document.admit.groups)?;
    let mut rules = Vec::new();
    for (table, denies) in document
        .allow
        .iter()
        .map(|table| (table, false))
        .chain(document.deny.iter().map(|table| (table, true)))
    {
        rules.push(source.rule(table, denies)?);
    }
    let quotas = document.quota.iter().map(|table| source.quota(table)).collect::<Result<_, _>>()?;
    Ok(Config { file: Some(path.to_owned()), owner, admit, rules, quotas })
}

impl Source<'_> {
    fn error(&self, span: &Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        ConfigError::Content {
            path: self.path.to_owned(),
            line: self.line(span),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            message: message.into(),
        }
    }

    fn line(&self, span: &Range<usize>) -> u32 {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX)
    }

    fn uid(&self, account: &Spanned<Account>) -> Result<u32, ConfigError> {
        match account.get_ref() {
            Account::Number(uid) => Ok(*uid),
            Account::Name(name) => self.accounts.uid_of(name).ok_or_else(|| {
                let message = format!(
                    "/etc/passwd has no user {name:?}; write one that it has, or the number that `id -u {name}` tells"
                );
                self.error(&account.span(), message)
            }),
        }
    }

    fn gid(&self, account: &Spanned<Account>) -> Result<u32, ConfigError> {
        match account.get_ref() {
            Account::Number(gid) => Ok(*gid),
            Account::Name(name) => self.accounts.gid_of(name).ok_or_else(|| {
                let message = format!(
                    "/etc/group has no group {name:?}; write one that it has, or the number that `getent group {name}` tells"
                );
                self.error(&account.span(), message)
            }),
        }
    }

    fn subjects(
        &self,
        users: &[Spanned<Account>],
        groups: &[Spanned<Account>],
    ) -> Result<Subjects, ConfigError> {
        Ok(Subjects {
            uids: users.iter().map(|user| self.uid(user)).collect::<Result<_, _>>()?,
            gids: groups.iter().map(|group| self.gid(group)).collect::<Result<_, _>>()?,
        })
    }

    /// The users and groups that a rule or a quota is about. Empty lists would be taken for "everybody".
    fn named_subjects(
        &self,
        span: &Range<usize>,
        users: Option<&Vec<Spanned<Account>>>,
        groups: Option<&Vec<Spanned<Account>>>,
    ) -> Result<Subjects, ConfigError> {
        let is_named = users.is_some() || groups.is_some();
        let subjects = self.subjects(
            users.map(Vec::as_slice).unwrap_or_default(),
            groups.map(Vec::as_slice).unwrap_or_default(),
        )?;
        if is_named && subjects.is_empty() {
            let message = "`users` and `groups` are empty, which means nobody; name somebody, or leave both out to mean everybody who is admitted";
            return Err(self.error(span, message));
        }
        Ok(subjects)
    }

    fn rule(&self, table: &Spanned<RuleTable>, denies: bool) -> Result<Rule, ConfigError> {
        let (span, rule) = (table.span(), table.get_ref());
        let subjects = self.named_subjects(&span, rule.users.as_ref(), rule.groups.as_ref())?;
        let rights: Vec<Right> = rule.rights.get_ref().iter().map(|right| *right.get_ref()).collect();
        if rights.is_empty() {
            return Err(self.error(&rule.rights.span(), "`rights` is empty; name at least one right"));
        }
        let (names, kinds) = match rights.contains(&Right::Admin) {
            true => self.nothing_by_name(rule, &rights)?,
            false => (self.patterns(&span, rule.names.as_ref())?, self.kinds(rule)?),
        };
        Ok(Rule { line: self.line(&span), denies, subjects, rights, kinds, names })
    }

    /// The right to administer is about the instance, so that nobody gives it by a pattern without noticing.
    fn nothing_by_name(
        &self,
        rule: &RuleTable,
        rights: &[Right],
    ) -> Result<(Vec<NamePattern>, Vec<Kind>), ConfigError> {
        let beside = rights.iter().any(|right| *right != Right::Admin);
        if beside || rule.names.is_some() || rule.kinds.is_some() {
            let message = "`admin` concerns the whole instance and no names; put it into a rule of its own, without `names` and `kinds`";
            return Err(self.error(&rule.rights.span(), message));
        }
        Ok(Default::default())
    }

    fn patterns(
        &self,
        span: &Range<usize>,
        names: Option<&Spanned<Vec<Spanned<String>>>>,
    ) -> Result<Vec<NamePattern>, ConfigError> {
        let missing = "a rule needs `names`, a list of patterns; write names = [\"**\"] to mean all names";
        let names = names.ok_or_else(|| self.error(span, missing))?;
        if names.get_ref().is_empty() {
            return Err(self.error(&names.span(), missing));
        }
        let parsed = names.get_ref().iter().map(|name| {
            name.get_ref().parse::<NamePattern>().map_err(|error| {
                let message = error.to_string().replacen("topic name", "pattern", 1);
                self.error(&name.span(), message)
            })
        });
        parsed.collect()
    }

    fn kinds(&self, rule: &RuleTable) -> Result<Vec<Kind>, ConfigError> {
        let kinds = match &rule.kinds {
            Some(kinds) if kinds.get_ref().is_empty() => {
                let message = "`kinds` is empty; leave it out to mean topics, services, regions and datasets";
                return Err(self.error(&kinds.span(), message));
            }
            Some(kinds) => kinds.get_ref().clone(),
            None => Kind::ALL.to_vec(),
        };
        for right in rule.rights.get_ref() {
            if !kinds.iter().any(|kind| kind.rights().contains(right.get_ref())) {
                let fitting: Vec<String> = Kind::ALL
                    .iter()
                    .filter(|kind| kind.rights().contains(right.get_ref()))
                    .map(|kind| format!("{:?}", kind.to_string()))
                    .collect();
                let message = format!(
                    "the right {:?} means nothing for these `kinds`; it is about {}",
                    right.get_ref().name(),
                    fitting.join(" and ")
                );
                return Err(self.error(&right.span(), message));
            }
        }
        Ok(kinds)
    }

    fn quota(&self, table: &Spanned<QuotaTable>) -> Result<UserQuota, ConfigError> {
        let (span, quota) = (table.span(), table.get_ref());
        let subjects = self.named_subjects(&span, quota.users.as_ref(), quota.groups.as_ref())?;
        let memory_bytes = quota.memory.as_ref().map(|size| self.bytes(size)).transpose()?;
        let QuotaTable { descriptors, nodes, topics, .. } = *quota;
        let allowance = Allowance { memory_bytes, descriptors, nodes, topics };
        if allowance == Allowance::default() {
            let message = "this quota limits nothing; give it `memory`, `descriptors`, `nodes` or `topics`";
            return Err(self.error(&span, message));
        }
        Ok(UserQuota { line: self.line(&span), subjects, allowance })
    }

    fn bytes(&self, size: &Spanned<Size>) -> Result<u64, ConfigError> {
        const UNITS: [(&str, u64); 5] =
            [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        let text = match size.get_ref() {
            Size::Bytes(bytes) => return Ok(*bytes),
            Size::Text(text) => text,
        };
        let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, factor)| *factor);
        let number: Option<u64> = number.parse().ok();
        number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor)).ok_or_else(|| {
            let message = format!(
                "{text:?} is no size; write a whole number and B, KiB, MiB, GiB or TiB, such as \"64 MiB\""
            );
            self.error(&size.span(), message)
        })
    }
}
