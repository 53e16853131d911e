//! `onecopy config`: the configuration of an instance, checked, and asked who may do what.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use onecopy::config::{Accounts, Action, Allowance, Config, ConfigError, Decision, Kind, Right, Who};
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer, value};

use crate::failure::Failure;
use crate::output::{Output, Style, stdout_has_colour, styled};
use crate::scope::Scope;
use crate::units::bytes;
use onecopy::broker::protocol::Resource;

const CHECK_HELP: &str = "\
Without FILE it is the one that programs of the instance read: $ONECOPY_CONFIG, else $XDG_CONFIG_HOME/onecopy/NAME.toml
(~/.config/onecopy/NAME.toml), else /etc/onecopy/NAME.toml, where NAME is the instance. Without any file only processes of
one user are let in, and may do everything.

A mistake is told with its line and column, and the exit code is 1. What is no mistake, and hardly meant, is told as well.
Changes take effect with the next broker: on SIGHUP `onecopy serve` becomes its own successor, and `onecopy serve --replace`
is one.

Examples:
  onecopy config check
  onecopy --instance lab config check
  onecopy config check ./lab.toml && sudo cp lab.toml /etc/onecopy/";

const MAY_HELP: &str = "\
USER is a name or a number; the groups are those that /etc/passwd and /etc/group have. RIGHT is publish, subscribe, call, serve,
read, write or admin; the last one takes no NAME. The exit code is 0 if the user may, and 11 if not.

Examples:
  onecopy config may camera publish camera/front
  onecopy config may 1001 read maps/berlin --kind dataset
  onecopy config may operator admin --file ./lab.toml --json";

/// Check the configuration, and ask it who may do what
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArguments),
    /// Tell whether a user may do something, and by which rule
    #[command(after_long_help = MAY_HELP)]
    May(MayArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The file; that of the instance if it is left out
    file: Option<PathBuf>,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MayArguments {
    /// The user, by name or number
    user: String,
    /// What it wants to do
    #[arg(value_parser = right_parser())]
    right: Right,
    /// To what
    #[arg(required_if_eq_any = [("right", "publish"), ("right", "subscribe"), ("right", "call"), ("right", "serve"), ("right", "read"), ("right", "write")])]
    name: Option<String>,
    /// What NAME is the name of; otherwise a topic, service or region, as the right says
    #[arg(long, value_parser = kind_parser())]
    kind: Option<Kind>,
    /// The configuration file; that of the instance if it is left out
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    file: Option<String>,
    looked_at: Vec<String>,
    owner: Option<u32>,
    admitted_uids: &'a [u32],
    admitted_gids: &'a [u32],
    rules: usize,
    quotas: usize,
    advice: Vec<AdviceDocument>,
}

#[derive(Serialize)]
struct AdviceDocument {
    line: Option<u32>,
    message: String,
}

#[derive(Serialize)]
struct MistakeDocument {
    file: String,
    line: u32,
    column: u32,
    message: String,
}

#[derive(Serialize)]
struct MayDocument {
    file: Option<String>,
    uid: u32,
    gids: Vec<u32>,
    right: Right,
    kind: Option<Kind>,
    name: Option<String>,
    allowed: bool,
    /// `owner`, `allowed`, `denied`, `no_rule` or `not_admitted`.
    because: &'static str,
    line: Option<u32>,
    quota: QuotaDocument,
}

#[derive(Serialize)]
struct QuotaDocument {
    line: Option<u32>,
    memory_bytes: Option<u64>,
    descriptors: Option<u64>,
    nodes: Option<u64>,
    topics: Option<u64>,
}

pub(crate) fn run(command: Command, scope: &Scope) -> Result<(), Failure> {
    match command {
        Command::Check(arguments) => check(&arguments, scope),
        Command::May(arguments) => may(arguments, scope),
    }
}

fn load(file: Option<&PathBuf>, scope: &Scope) -> Result<Config, ConfigError> {
    match file {
        Some(file) => Config::load(file),
        None => Config::of_instance(scope.instance_name()),
    }
}

fn check(arguments: &CheckArguments, scope: &Scope) -> Result<(), Failure> {
    let config = match load(arguments.file.as_ref(), scope) {
        Ok(config) => config,
        Err(ConfigError::Content { path, line, column, message }) if arguments.json => {
            let file = path.display().to_string();
            let document = MistakeDocument { file, line, column, message: message.clone() };
            let mut output = Output::new();
            output.json_document(&document)?;
            output.flush()?;
            return Err(Failure::Config(ConfigError::Content { path, line, column, message }));
        }
        Err(error) => return Err(Failure::Config(error)),
    };
    let looked_at: Vec<String> = match &arguments.file {
        Some(_) => Vec::new(),
        None => {
            Config::candidates(scope.instance_name()).iter().map(|path| path.display().to_string()).collect()
        }
    };
    let (admitted_uids, admitted_gids) = config.admitted();
    let advice = config.advice();
    let mut output = Output::new();
    if arguments.json {
        let advice = advice.into_iter();
        output.json_document(&CheckDocument {
            file: config.file().map(|file| file.display().to_string()),
            looked_at,
            owner: config.owner(),
            admitted_uids,
            admitted_gids,
            rules: config.rules(),
            quotas: config.quotas(),
            advice: advice
                .map(|advice| AdviceDocument { line: advice.line, message: advice.message })
                .collect(),
        })?;
        return output.flush();
    }
    let Some(file) = config.file() else {
        let text = format!(
            "no configuration: only processes of one user are let in (looked at {})",
            looked_at.join(", ")
        );
        output.line(&text)?;
        return output.flush();
    };
    let good = styled("ok", Style::Good, stdout_has_colour());
    output.line(&format!("{good}  {}", file.display()))?;
    let owner =
        config.owner().map_or("the user of whoever starts it".to_owned(), |uid| format!("user {uid}"));
    output.line(&format!("    owner: {owner}"))?;
    output.line(&format!("    admitted: {}", admitted(admitted_uids, admitted_gids)))?;
    output.line(&format!("    rules: {}, quotas: {}", config.rules(), config.quotas()))?;
    for advice in advice {
        let place = advice.line.map_or_else(String::new, |line| format!("line {line}: "));
        output.line(&format!("    note: {place}{}", advice.message))?;
    }
    output.flush()
}

fn admitted(uids: &[u32], gids: &[u32]) -> String {
    let list = |what: &str, numbers: &[u32]| {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        (!numbers.is_empty()).then(|| format!("{what} {}", numbers.join(", ")))
    };
    let parts: Vec<String> = [list("users", uids), list("groups", gids)].into_iter().flatten().collect();
    if parts.is_empty() { "nobody else".to_owned() } else { parts.join("; ") }
}

fn may(arguments: MayArguments, scope: &Scope) -> Result<(), Failure> {
    let MayArguments { user, right, name, kind, file, json } = arguments;
    let config = load(file.as_ref(), scope).map_err(Failure::Config)?;
    let accounts = Accounts::of_system();
    let uid = user.parse().ok().or_else(|| accounts.uid_of(&user));
    let uid = uid.ok_or(Failure::NoUser { user })?;
    let who = Who { uid, gids: accounts.gids_of(uid) };
    let kind = kind.or(usual_kind(right));
    let action = match (kind, &name) {
        (Some(kind), Some(_)) if !kind.rights().contains(&right) => {
            return Err(Failure::CommandLine("there is no such right on that kind: see --help"));
        }
        (Some(kind), Some(name)) => Action::Named { right, kind, name },
        (_, Some(_)) => return Err(Failure::CommandLine("admin concerns the instance and takes no NAME")),
        (_, None) => Action::Admin,
    };
    // Without an owner in the file, whoever asks would be it.
    let own = config.owner().unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let decision = (uid != own).then(|| config.decide(&who, action));
    let document = document(&config, who, action, decision);
    let mut output = Output::new();
    if json {
        output.json_document(&document)?;
    } else {
        output.line(&sentence(&document, action))?;
        if let Some(quota) = quota_sentence(&document.quota) {
            output.line(&quota)?;
        }
    }
    output.flush()?;
    if document.allowed { Ok(()) } else { Err(Failure::MayNot) }
}

fn usual_kind(right: Right) -> Option<Kind> {
    match right {
        Right::Publish | Right::Subscribe => Some(Kind::Topic),
        Right::Call | Right::Serve => Some(Kind::Service),
        Right::Read | Right::Write => Some(Kind::Region),
        Right::Admin => None,
    }
}

fn document(config: &Config, who: Who, action: Action<'_>, decision: Option<Decision>) -> MayDocument {
    let (because, line) = match decision {
        None => ("owner", None),
        Some(Decision::Allowed { line }) => ("allowed", Some(line)),
        Some(Decision::Denied { line }) => ("denied", Some(line)),
        Some(Decision::NoRule) => ("no_rule", None),
        Some(Decision::NotAdmitted) => ("not_admitted", None),
    };
    let (kind, name) = match action {
        Action::Named { kind, name, .. } => (Some(kind), Some(name.to_owned())),
        Action::Admin => (None, None),
    };
    let is_own = decision.is_none();
    let Allowance { memory_bytes, descriptors, nodes, topics } = config.allowance(&who, is_own);
    let line_of_quota = config.allowance_line(&who, is_own);
    MayDocument {
        file: config.file().map(|file| file.display().to_string()),
        right: action.right(),
        allowed: decision.is_none_or(Decision::is_allowed),
        quota: QuotaDocument { line: line_of_quota, memory_bytes, descriptors, nodes, topics },
        uid: who.uid,
        gids: who.gids,
        kind,
        name,
        because,
        line,
    }
}

fn sentence(document: &MayDocument, action: Action<'_>) -> String {
    let MayDocument { uid, line, .. } = document;
    let file = document.file.as_deref().unwrap_or("the configuration (there is none)");
    let line = line.unwrap_or_default();
    match document.because {
        "owner" => format!("user {uid} may {action}: it owns the instance, and may do everything"),
        "allowed" => format!("user {uid} may {action}: the rule in line {line} of {file} allows it"),
        "denied" => format!("user {uid} may not {action}: the rule in line {line} of {file} denies it"),
        "no_rule" => format!("user {uid} may not {action}: no rule of {file} allows it"),
        _ => format!("user {uid} may not {action}: {file} does not admit it"),
    }
}

fn quota_sentence(quota: &QuotaDocument) -> Option<String> {
    let parts = [
        quota.memory_bytes.map(|memory| format!("{} of shared memory", bytes(memory))),
        quota.descriptors.map(|count| format!("{} of the broker", Resource::Descriptors.counted(count))),
        quota.nodes.map(|count| Resource::Nodes.counted(count).to_string()),
        quota.topics.map(|count| Resource::Topics.counted(count).to_string()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    quota.line.map(|line| format!("its quota, in line {line}: {}", parts.join(", ")))
}

/// A word of the command line that means the same in the configuration file.
fn parse_as_in_file<Word: DeserializeOwned>(word: String) -> Result<Word, value::Error> {
    Word::deserialize(word.into_deserializer())
}

fn right_parser() -> impl TypedValueParser<Value = Right> {
    PossibleValuesParser::new(Right::ALL.map(Right::name)).try_map(parse_as_in_file)
}

fn kind_parser() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(parse_as_in_file)
}
