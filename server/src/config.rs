//! Configuration: defaults, then a TOML file, then `HAUL_*`, then flags; the last word wins. The one place that reads
//! the environment.

// The flags' docs are help texts for a terminal.
#![allow(clippy::doc_markdown, clippy::doc_link_with_quotes)]

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono_tz::Tz;
use clap::{Args, ValueEnum};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::{
    api::{BadOrigin, Origins},
    fetch::{BadEntry, Outbound},
};

/// The exchange's own address of its list.
const LIST_URI: &str =
    "https://www.jpx.co.jp/markets/statistics-equities/misc/tvdivq0000001vg2-att/data_j.xls";

const CONNECTION_AGE_S: NonZeroU32 = NonZeroU32::new(1_800).unwrap();

/// What can be set for a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// An address other than loopback is meant.
    pub insecure_listen: bool,
    /// File that the port is written to once the server listens.
    pub port_file: Option<PathBuf>,
    /// Folder of the store.
    pub data_dir: PathBuf,
    /// The store, `sqlite:PATH`; in the data folder where it is not given.
    pub store: Option<String>,
    /// Folders that file sources may be read from.
    pub file_roots: Vec<PathBuf>,
    /// Hosts and networks that requests may go to though they are not public.
    pub allow_targets: Vec<String>,
    /// The exchange's list, where a spec names none.
    pub list_uri: String,
    /// User-Agent header, where a spec names none.
    pub user_agent: String,
    /// Zone of logical dates, where a spec names none.
    pub time_zone: Tz,
    /// Batches that run at once; the rest is QUEUED.
    pub running_batches: usize,
    /// Batches that are not at their end.
    pub live_batches: usize,
    /// Origins of pages that may call by grpc-web.
    pub allowed_origins: Vec<String>,
    /// Seconds after which a client is asked to connect anew.
    pub connection_age_s: NonZeroU32,
    /// Calls per second that a caller may make, told apart by address; 0 is any number.
    pub api_rate: f64,
    /// Seconds that a batch may stand still though nothing holds it back, before that is an alarm.
    pub stall_after_s: u32,
    /// What is logged: a level, or directives such as `info,haul_server::engine=debug`.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], haul_client::DEFAULT_PORT)),
            insecure_listen: false,
            port_file: None,
            data_dir: PathBuf::from("haul-data"),
            store: None,
            file_roots: Vec::new(),
            allow_targets: Vec::new(),
            list_uri: LIST_URI.to_owned(),
            user_agent: concat!("haul/", env!("CARGO_PKG_VERSION")).to_owned(),
            time_zone: Tz::UTC,
            running_batches: 100,
            live_batches: 10_000,
            allowed_origins: Vec::new(),
            connection_age_s: CONNECTION_AGE_S,
            api_rate: 0.0,
            stall_after_s: 60,
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
        }
    }
}

/// What is wrong with the configuration: names the key, the value and where it was set.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value, or a key that does not exist.
    #[error("configuration: {}", told(.0))]
    Value(Box<figment::Error>),
    /// The configuration file is not there.
    #[error("configuration file {} cannot be read: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The listen address is not loopback.
    #[error(
        "{0} is not a loopback address, and whoever reaches this port may do anything: there are no TLS and no tokens \
         yet. Listen on 127.0.0.1, or say --insecure-listen if the network itself keeps others out"
    )]
    Exposed(SocketAddr),
    /// An origin that is none.
    #[error("allowed_origins: {0}")]
    Origin(BadOrigin),
    /// An entry of the outbound policy is nothing that can be allowed.
    #[error("allow_targets: {0}")]
    Target(#[from] BadEntry),
    /// A rate below zero, or none.
    #[error("api_rate: {0} is no number of calls per second; 0 is any number of them")]
    Rate(f64),
    /// A time until an alarm that is too short to tell, or endless.
    #[error("stall_after_s: {0} is not between 30 and 86400 seconds")]
    StallAfter(u32),
    /// The store's address is of no kind that this build has.
    #[error("store {0:?} is not sqlite:PATH")]
    Store(String),
}

/// Flags of every command that opens a store. What is not given is left to the environment and the file.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct Flags {
    /// TOML file with any of these settings, with _ for - [env: HAUL_CONFIG]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Folder of the store [default: haul-data] [env: HAUL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// The store, sqlite:PATH [default: haul.db in the data folder] [env: HAUL_STORE]
    #[arg(long, value_name = "STORE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Folder that file sources may be read from; may be repeated [env: HAUL_FILE_ROOTS='["DIR"]']
    #[arg(long = "file-root", value_name = "DIR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_roots: Vec<PathBuf>,
    /// Host, address or network (CIDR) that requests may go to though it is not public; may be repeated
    /// [env: HAUL_ALLOW_TARGETS='["HOST"]']
    #[arg(long = "allow-target", value_name = "HOST")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_targets: Vec<String>,
    /// What is logged: error, warn, info, debug or trace, or directives [env: HAUL_LOG]
    #[arg(long, value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// How it is logged; auto is text on a terminal, JSON otherwise [env: HAUL_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

/// Flags of a server.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct ServeFlags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:50051] [env: HAUL_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Listen on an address that others reach, without TLS and tokens [env: HAUL_INSECURE_LISTEN=true]
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_listen: bool,
    /// File that the port is written to once the server listens [env: HAUL_PORT_FILE]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_file: Option<PathBuf>,
    /// Batches that run at once; the rest is QUEUED [default: 100] [env: HAUL_RUNNING_BATCHES]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_batches: Option<usize>,
}

impl Config {
    /// Reads all layers. `defaults` are the command's own.
    pub fn read(defaults: Self, flags: &Flags, serve: &ServeFlags) -> Result<Self, ConfigError> {
        let config: Self =
            layers(defaults, flags, serve)?.extract().map_err(|error| ConfigError::Value(Box::new(error)))?;
        if !config.listen.ip().is_loopback() && !config.insecure_listen {
            return Err(ConfigError::Exposed(config.listen));
        }
        Origins::parse(&config.allowed_origins).map_err(ConfigError::Origin)?;
        if !config.api_rate.is_finite() || config.api_rate < 0.0 {
            return Err(ConfigError::Rate(config.api_rate));
        }
        // Items whose gate is held are looked at every 10 s, and that is a sign of life.
        if !(30..=86_400).contains(&config.stall_after_s) {
            return Err(ConfigError::StallAfter(config.stall_after_s));
        }
        config.outbound()?;
        Ok(config)
    }

    /// Where requests may go.
    pub fn outbound(&self) -> Result<Outbound, ConfigError> {
        Ok(Outbound::new(&self.allow_targets)?)
    }

    /// The store's file.
    pub fn database(&self) -> Result<PathBuf, ConfigError> {
        match &self.store {
            None => Ok(self.data_dir.join("haul.db")),
            Some(store) => match store.strip_prefix("sqlite:") {
                Some(path) if !path.is_empty() => Ok(Path::new(path).to_owned()),
                _ => Err(ConfigError::Store(store.clone())),
            },
        }
    }
}

fn layers(defaults: Config, flags: &Flags, serve: &ServeFlags) -> Result<Figment, ConfigError> {
    let mut layers = Figment::from(Serialized::defaults(defaults));
    if let Some(path) = file(flags) {
        // Asked here, since a missing file is to be an error that says so.
        if let Err(source) = std::fs::File::open(&path) {
            return Err(ConfigError::File { path, source });
        }
        layers = layers.merge(Toml::file_exact(path));
    }
    Ok(layers
        .merge(Env::prefixed(PREFIX).only(&KEYS))
        .merge(Serialized::globals(flags))
        .merge(Serialized::globals(serve)))
}

/// The configuration file, if one is named.
pub fn file(flags: &Flags) -> Option<PathBuf> {
    flags.config.clone().or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from))
}

/// A setting that was made, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// What it is set to.
    pub value: String,
    /// Where: a file, a variable, a flag.
    pub place: String,
    /// What it is for.
    pub meaning: &'static str,
}

/// Every setting that is not left to its default, and where it was made. Values are as given, valid or not.
pub fn settings(flags: &Flags, serve: &ServeFlags) -> Result<Vec<Setting>, ConfigError> {
    let layers = layers(Config::default(), flags, serve)?;
    let setting = |key: &'static str| {
        let value = layers.find_value(key).ok()?;
        let metadata = layers.get_metadata(value.tag())?;
        let place = match &metadata.source {
            Some(figment::Source::File(path)) => path.display().to_string(),
            // The only providers that are code are the defaults and the flags.
            Some(_) if metadata.name == std::any::type_name::<Config>() => return None,
            Some(_) => flag(key),
            None => format!("{PREFIX}{}", key.to_ascii_uppercase()),
        };
        let value = match value.as_str() {
            Some(text) => text.to_owned(),
            None => serde_json::to_string(&value).unwrap_or_default(),
        };
        Some(Setting { key, value, place, meaning: meaning(key) })
    };
    Ok(KEYS.into_iter().filter_map(setting).collect())
}

fn flag(key: &str) -> String {
    match key {
        "file_roots" => "--file-root".to_owned(),
        "allow_targets" => "--allow-target".to_owned(),
        _ => format!("--{}", key.replace('_', "-")),
    }
}

fn meaning(key: &str) -> &'static str {
    match key {
        "listen" => "where to listen",
        "insecure_listen" => "listens on an address that others reach",
        "port_file" => "file that the port is written to",
        "data_dir" => "folder of the store",
        "store" => "the store",
        "file_roots" => "folders that file sources may be read from",
        "allow_targets" => "hosts and networks that requests may go to though they are not public",
        "list_uri" => "the exchange's list, where a spec names none",
        "user_agent" => "User-Agent header, where a spec names none",
        "time_zone" => "zone of logical dates, where a spec names none",
        "running_batches" => "batches that run at once",
        "live_batches" => "batches that are not at their end",
        "allowed_origins" => "origins of pages that may call by grpc-web",
        "connection_age_s" => "seconds after which a client is asked to connect anew",
        "stall_after_s" => "seconds that a batch may stand still before that is an alarm",
        "api_rate" => "calls per second that a caller may make",
        "log" => "what is logged",
        "log_format" => "how it is logged",
        _ => "",
    }
}

/// What is to go wrong in a build with fail points.
#[cfg(feature = "failpoints")]
pub fn fail_points() -> String {
    std::env::var(FAIL_POINTS_VARIABLE).unwrap_or_default()
}

/// `HAUL_*` variables that neither the server nor the command `haul` knows.
pub fn unknown_variables() -> Vec<String> {
    let known = |name: &str| {
        let key = name.strip_prefix(PREFIX).unwrap_or_default().to_ascii_lowercase();
        KEYS.contains(&key.as_str()) || [FILE_VARIABLE, "HAUL_SERVER"].contains(&name)
    };
    let mut names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !known(name))
        .collect();
    names.sort();
    names
}

/// When this program's file was last written: the clock cannot be before that.
pub fn program_written() -> Option<SystemTime> {
    std::fs::metadata(std::env::current_exe().ok()?).ok()?.modified().ok()
}

/// Where temporary files go, as the environment says.
pub fn temporary_folder() -> PathBuf {
    std::env::temp_dir()
}

/// Key, value and place of everything that is wrong.
fn told(error: &figment::Error) -> String {
    let one = |error: figment::Error| {
        let key = error.path.join(".");
        let place = error.metadata.as_ref().map(|metadata| match &metadata.source {
            Some(figment::Source::File(path)) => format!(" in {}", path.display()),
            Some(_) => format!(" by {}", flag(&key)),
            None => format!(" in {PREFIX}{}", key.to_ascii_uppercase()),
        });
        let what = match &error.kind {
            figment::error::Kind::UnknownField(key, known) => {
                format!("{key} is no setting (there are {})", known.join(", "))
            }
            kind if key.is_empty() => kind.to_string(),
            kind => format!("{key}: {kind}").replace("expected usize", "expected a whole number"),
        };
        what + &place.unwrap_or_default()
    };
    error.clone().into_iter().map(one).collect::<Vec<_>>().join("; ")
}

const PREFIX: &str = "HAUL_";
const FILE_VARIABLE: &str = "HAUL_CONFIG";
#[cfg(feature = "failpoints")]
const FAIL_POINTS_VARIABLE: &str = "HAUL_FAIL_POINTS";

/// Keys that the environment may set; other `HAUL_*` variables are somebody else's.
const KEYS: [&str; 18] = [
    "listen",
    "insecure_listen",
    "port_file",
    "data_dir",
    "store",
    "file_roots",
    "allow_targets",
    "list_uri",
    "user_agent",
    "time_zone",
    "running_batches",
    "live_batches",
    "allowed_origins",
    "connection_age_s",
    "api_rate",
    "stall_after_s",
    "log",
    "log_format",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, flags: &Flags, serve: &ServeFlags) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haul.toml");
        std::fs::write(&path, file).unwrap();
        Config::read(Config::default(), &Flags { config: Some(path), ..flags.clone() }, serve)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let flags = Flags { data_dir: Some("flagged".into()), ..Flags::default() };
        let config =
            read("data_dir = \"filed\"\nlisten = \"127.0.0.1:1\"\n", &flags, &ServeFlags::default()).unwrap();
        assert_eq!(config.data_dir, Path::new("flagged"));
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.running_batches, 100);
        assert_eq!(config.database().unwrap(), Path::new("flagged/haul.db"));
    }

    #[test]
    fn a_key_that_does_not_exist_and_a_bad_value_are_named() {
        let error = |file| read(file, &Flags::default(), &ServeFlags::default()).unwrap_err().to_string();
        assert!(error("lisen = 1").contains("lisen"), "{}", error("lisen = 1"));
        assert!(error("running_batches = \"many\"").contains("running_batches"));
        assert!(error("time_zone = \"Mars/Base\"").contains("time_zone"));
        assert!(error("time_zone = ").contains("haul.toml"), "{}", error("time_zone = "));
        assert!(error("allowed_origins = [\"*\"]").contains("allowed_origins: \"*\""));
        assert!(error("connection_age_s = 0").contains("connection_age_s"));
        assert!(error("stall_after_s = 29").contains("stall_after_s: 29"));
        assert!(error("stall_after_s = 86401").contains("30 and 86400"));
        assert!(error("api_rate = -1").contains("api_rate"));
        assert!(error("allow_targets = [\"10.0.0.0/99\"]").contains("10.0.0.0/99"));
    }

    #[test]
    fn a_setting_says_where_it_was_made_and_a_default_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haul.toml");
        std::fs::write(&path, "data_dir = \"filed\"\nrunning_batches = \"many\"\n").unwrap();
        let flags = Flags {
            config: Some(path.clone()),
            file_roots: vec!["/a".into(), "/b".into()],
            ..Flags::default()
        };
        let made = settings(&flags, &ServeFlags::default()).unwrap();
        let made: Vec<_> =
            made.iter().map(|made| (made.key, made.value.as_str(), made.place.as_str())).collect();
        let path = path.to_str().unwrap();
        let expected = [
            ("data_dir", "filed", path),
            ("file_roots", "[\"/a\",\"/b\"]", "--file-root"),
            ("running_batches", "many", path),
        ];
        assert_eq!(made, expected);
    }

    #[test]
    fn every_key_has_a_meaning() {
        assert!(KEYS.iter().all(|key| !meaning(key).is_empty()));
    }

    #[test]
    fn only_loopback_is_listened_on_unless_asked_for_in_so_many_words() {
        let listen = |address: &str, insecure_listen| {
            let serve = ServeFlags {
                listen: Some(address.parse().unwrap()),
                insecure_listen,
                ..ServeFlags::default()
            };
            read("", &Flags::default(), &serve).is_ok()
        };
        assert!(listen("127.0.0.1:0", false) && listen("[::1]:0", false));
        assert!(!listen("0.0.0.0:0", false) && !listen("[::]:0", false) && !listen("192.0.2.1:0", false));
        assert!(listen("0.0.0.0:0", true));
    }

    #[test]
    fn a_store_of_another_kind_is_refused() {
        let flags = Flags { store: Some("postgres://host/db".into()), ..Flags::default() };
        let config = read("", &flags, &ServeFlags::default()).unwrap();
        assert!(config.database().unwrap_err().to_string().contains("postgres://host/db"));
    }
}
