//! Which replica is meant, and where it listens.
//!
//! A written `--endpoint` is taken as it is. A name is looked for in the networks that run on this
//! machine, by the plans they were started with, then in the manifest here. A manifest that is
//! named explicitly leaves out networks made from another.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::asking::AskError;
use crate::compile;
use crate::compile::{Entry, Inputs, Machine};
use crate::diagnostics::render;
use crate::diagnostics::sources::Sources;
use crate::diagnostics::suggest::did_you_mean;
use crate::diagnostics::{Diagnostic, has_errors};
use crate::manifest::peers::{self, Member};
use crate::model::endpoint::Endpoint;
use crate::model::limits::WireLimits;
use crate::model::security::{Admitted, Guarded, KEYS_DIR, OPERATOR};
use crate::model::store::StoreConfig;
use crate::plan::{Exec, Instance, Plan};
use crate::roles;
use crate::roles::Kind;
use crate::roles::replica;
use crate::run::facts;
use crate::run::keys::KeyDir;
use crate::run::ledger;
use crate::run::paths;
use crate::schema::front;
use crate::wire::keyed::Keys;

use super::Global;
use super::environment::Environment;
use super::exit::{Exit, Failure};
use super::keys;
use super::look;
use super::manifest_file;
use super::seed::SeedEnv;
use super::ui;

/// How long a foreground replica waits for a silent peer, as a planned one does.
const BROADCAST_MS: u64 = 1_000;

/// More names than this are not listed to who misspelt one.
const NAMED_MAX: usize = 8;

/// The options that name a replica.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TargetArgs {
    /// The node to talk to [env: KILO_LEADER_NAME]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Where it listens, such as `tcp://127.0.0.1:3264`; needs no manifest
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// The public key of who listens at `--endpoint`, or a file that holds it: the link is encrypted
    #[arg(long, value_name = "KEY|FILE", requires = "endpoint")]
    server_key: Option<String>,
    /// Where the operator's key is that is presented at `--endpoint` [default: keys]
    #[arg(long, value_name = "DIR", requires = "server_key")]
    keys: Option<PathBuf>,
}

/// A replica to talk to.
#[derive(Debug)]
pub(super) struct Target {
    /// Its name, as far as it is known.
    pub(super) name: String,
    /// Where it listens.
    pub(super) endpoint: Endpoint,
    /// The keys to dial it with.
    pub(super) keys: Keys,
}

impl Target {
    /// That it did not do what was asked: one that could not be reached is named.
    pub(super) fn failure(&self, error: &AskError) -> Failure {
        let words = match error {
            AskError::Unreached(_) => format!("{}: {error}", self.endpoint),
            AskError::Refused(..) | AskError::Malformed(_) => error.to_string(),
        };
        Failure::new(Exit::Failed, words)
    }
}

impl TargetArgs {
    /// A node by its name, or where it listens.
    pub(super) fn of(name: Option<String>, endpoint: Option<String>) -> Self {
        Self {
            name,
            endpoint,
            ..Self::default()
        }
    }

    /// The same with a name given in another place.
    pub(super) fn or_name(mut self, name: Option<String>) -> Self {
        self.name = self.name.or(name);
        self
    }

    /// The name that was given.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same with another name.
    pub(super) fn named(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Finds the replica.
    pub(super) fn find(mut self, env: &SeedEnv, global: &Global) -> Result<Target, Failure> {
        self.name = env.text(self.name, "KILO_LEADER_NAME");
        self.find_door((env, global), first_door)
    }

    /// Finds a port of a node by its name; where no node is named, that of the only one of a kind.
    pub(super) fn find_port(
        mut self,
        env: &SeedEnv,
        global: &Global,
        (kind, port): (Kind, &str),
    ) -> Result<Target, Failure> {
        if self.name.is_none() && self.endpoint.is_none() {
            self.name = Some(the_only(kind, global)?);
        }
        self.find_door((env, global), |instance| {
            let is_of_kind = instance.kind == kind;
            is_of_kind.then(|| door_of(instance, port)).flatten()
        })
    }

    fn find_door(
        self,
        (env, global): (&SeedEnv, &Global),
        pick: impl Fn(&Instance) -> Option<Door> + Copy,
    ) -> Result<Target, Failure> {
        let name = self.name;
        if let Some(text) = self.endpoint {
            let endpoint = text
                .parse()
                .map_err(|error| Failure::new(Exit::Usage, format!("`{text}`: {error}")))?;
            let name = name.unwrap_or_else(|| "client".to_owned());
            let keys = match &self.server_key {
                Some(key) => {
                    let dir = self.keys.unwrap_or_else(|| KEYS_DIR.into());
                    let dir = KeyDir::open(&dir).map_err(keys::failure)?;
                    let own = dir.own(OPERATOR).map_err(keys::failure)?;
                    Keys::each(&own, &[keys::written_key(key)?])
                }
                None => Keys::Open,
            };
            return Ok(Target {
                name,
                endpoint,
                keys,
            });
        }
        let name = name.ok_or_else(|| {
            Failure::new(Exit::Usage, "which node? say `-n NAME` or `--endpoint`")
        })?;
        let of_member = |member: &Member| {
            Some(Door {
                endpoint: Endpoint::tcp(member.address.clone(), member.port),
                guarded: None,
            })
        };
        let door = door(env, global, (&name, pick), of_member)?;
        let keys = match &door.guarded {
            Some(guarded) => operator(guarded)?,
            None => Keys::Open,
        };
        Ok(Target {
            name,
            endpoint: door.endpoint,
            keys,
        })
    }
}

/// What ZMQ Net says of a name that leads nowhere, and the names that lead somewhere.
fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let message = format!("could not find a peer named '{name}'");
    let failure = Failure::new(Exit::Failed, message);
    let few: Vec<&str> = known.clone().take(NAMED_MAX + 1).collect();
    match did_you_mean(name, known) {
        Some(help) => failure.help(help),
        None if (1..=NAMED_MAX).contains(&few.len()) => {
            failure.help(format!("there are `{}`", few.join("`, `")))
        }
        None => failure,
    }
}

/// The names of those that can be talked to.
fn names(plan: &Plan) -> impl Iterator<Item = &str> + Clone {
    let listening = plan.instances.iter().filter(|i| !i.ports.is_empty());
    listening.map(|instance| instance.name.as_str())
}

/// Where a node listens, and who is admitted there.
struct Door {
    endpoint: Endpoint,
    guarded: Option<Guarded>,
}

/// What the store of a node is told, and which kind of node it is; the node need not run.
pub(super) fn store(
    env: &SeedEnv,
    global: &Global,
    name: &str,
) -> Result<(Kind, StoreConfig), Failure> {
    let pick = |instance: &Instance| match &instance.process.as_ref()?.exec {
        Exec::Role(config) => Some((instance.kind, config.store()?.clone())),
        Exec::Program { .. } => None,
    };
    door(env, global, (name, pick), |_| None)
}

/// The keys by which zmqnet's own commands dial an encrypted listener.
fn operator(guarded: &Guarded) -> Result<Keys, Failure> {
    let dir = KeyDir::open(&guarded.keys).map_err(keys::failure)?;
    let own = dir.own(OPERATOR).map_err(keys::failure)?;
    let server = Admitted {
        who: guarded.name.clone(),
        key: None,
    };
    let servers = dir.servers(&server).map_err(keys::failure)?;
    Ok(Keys::each(&own, &servers))
}

/// The door of a node: among running networks, else in the manifest.
fn door<T>(
    env: &SeedEnv,
    global: &Global,
    (name, pick): (&str, impl Fn(&Instance) -> Option<T> + Copy),
    of_member: impl Fn(&Member) -> Option<T>,
) -> Result<T, Failure> {
    let env = &env.0;
    let written_path = global.file.as_ref().or(global.peers.as_ref()).cloned();
    let from_env = || env.get("ZMQNET_FILE").or_else(|| env.get("PEERS_PATH"));
    let named = written_path.or_else(|| from_env().map(PathBuf::from));
    let manifest = named.as_ref().and_then(|path| path.canonicalize().ok());
    let mut plans = running(global.topology.as_deref())?;
    plans.retain(|plan| named.is_none() || manifest.as_ref() == Some(&plan.manifest));
    let mut found: Vec<(String, T)> = plans
        .iter()
        .filter_map(|plan| {
            let door = pick(plan.instance(name)?)?;
            Some((plan.topology.as_str().to_owned(), door))
        })
        .collect();
    let others = || plans.iter().find_map(|plan| plan.instance(name));
    match (found.len(), others()) {
        (0, Some(other)) => {
            let kind = other.kind.as_str();
            let words = format!("`{name}` is a {kind}: this is not for one");
            Err(Failure::new(Exit::Usage, words))
        }
        (0, None) if global.topology.is_some() => Err(unknown(name, plans.iter().flat_map(names))),
        (0, None) => match manifest_file::find(None, global, env) {
            // Where something runs, the name is what is wrong, not that there is no manifest.
            Err(_) if !plans.is_empty() => Err(unknown(name, plans.iter().flat_map(names))),
            found => written(env, &found?, (name, pick), of_member),
        },
        (1, _) => Ok(found.remove(0).1),
        _ => {
            let names: Vec<String> = found.into_iter().map(|(topology, _)| topology).collect();
            let message = format!("`{name}` runs in several networks: {}", names.join(", "));
            Err(Failure::new(Exit::Usage, message).help("say which with `-T NAME`"))
        }
    }
}

/// A node's port of a name, rather by tcp.
fn door_of(instance: &Instance, name: &str) -> Option<Door> {
    let ports = || instance.ports.iter().filter(|port| port.port == name);
    let port = ports()
        .find(|port| port.address.port().is_some())
        .or_else(|| ports().next())?;
    Some(Door {
        endpoint: port.address.clone(),
        guarded: port.guarded.clone(),
    })
}

/// A node's first port that a person can reach.
fn first_door(instance: &Instance) -> Option<Door> {
    let mut ports = instance.ports.iter();
    let port = ports
        .find(|port| port.address.port().is_some())
        .or_else(|| instance.ports.first())?;
    Some(Door {
        endpoint: port.address.clone(),
        guarded: port.guarded.clone(),
    })
}

/// The plans of the networks of which a process lives, or of the one that is named.
fn running(topology: Option<&str>) -> Result<Vec<Plan>, Failure> {
    let networks = match paths::networks() {
        Ok(networks) => networks,
        // No home, no networks: the manifest may still say enough.
        Err(_) if topology.is_none() => return Ok(Vec::new()),
        Err(error) => return Err(Failure::new(Exit::File, error.to_string())),
    };
    let plans: Vec<Plan> = networks
        .into_iter()
        .filter(|(name, _)| topology.is_none_or(|wanted| wanted == name.as_str()))
        .filter_map(|(_, layout)| {
            let text = fs::read(layout.plan_file()).ok()?;
            let plan: Plan = serde_json::from_slice(&text).ok()?;
            ledger::is_running(&layout).then_some(plan)
        })
        .collect();
    match topology {
        Some(name) if plans.is_empty() => Err(Failure::new(
            Exit::NotRunning,
            format!("no network `{name}` is running"),
        )),
        _ => Ok(plans),
    }
}

/// The name of the only running instance of a kind.
fn the_only(kind: Kind, global: &Global) -> Result<String, Failure> {
    let plans = running(global.topology.as_deref())?;
    let instances = plans.iter().flat_map(|plan| &plan.instances);
    let of_kind = instances.filter(|instance| instance.kind == kind);
    let mut names: Vec<String> = of_kind.map(|found| found.name.to_string()).collect();
    let kind = kind.as_str();
    match (names.len(), names.pop()) {
        (1, Some(name)) => Ok(name),
        (_, None) => Err(
            Failure::new(Exit::NotRunning, format!("no {kind} is running"))
                .help("`zmqnet apply FILE` starts a network; `--endpoint` needs none"),
        ),
        (_, Some(last)) => {
            names.truncate(NAMED_MAX);
            let others = names.join("`, `");
            let words = format!("which {kind}? there are `{others}` and `{last}`");
            Err(Failure::new(Exit::Usage, words).help("`-n NAME` says which"))
        }
    }
}

/// What a manifest says about replicas.
enum Written {
    Peers(Vec<Member>),
    Planned(Box<Plan>),
}

fn read(env: &Environment, path: &Path) -> Result<Written, Failure> {
    let bytes = manifest_file::read(path)?;
    let shown = manifest_file::shown(path);
    let stem = manifest_file::stem(path);
    let entry = Entry {
        name: shown.clone(),
        stem: peers::name_of(&stem),
        path: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        bytes: bytes.clone(),
        assignments: Vec::new(),
    };
    let settings = front::Settings {
        env: env.values(),
        assignments: &[],
    };
    // A peers file says where everybody is; whether all of it may run here is not asked.
    let mut sources = Sources::default();
    let (_, manifest, found) = front::manifest(&mut sources, (&shown, &stem), bytes, settings);
    if has_errors(&found) {
        return Err(wrong(&found, &sources));
    }
    if let Some(members) = manifest.and_then(|manifest| manifest.members) {
        return Ok(Written::Peers(members));
    }
    let compiled = compile::plan(Inputs {
        entry,
        sources: Sources::new(),
        read: &|path| fs::read(path),
        env: env.values(),
        host: env.get("ZMQNET_HOST").map(str::to_owned),
        curve: None,
        machine: Some(Machine {
            facts: &|name| facts::gather(name).ok(),
            // Ports that are taken are taken by what is to be found, or do not matter here.
            holders: &|_| Vec::new(),
            find_program: &|program| facts::find_program(program, None),
            kind_of: &|_| None,
        }),
    });
    match compiled.plan {
        Some(plan) => Ok(Written::Planned(Box::new(plan))),
        None if has_errors(&compiled.diagnostics) => {
            Err(wrong(&compiled.diagnostics, &compiled.sources))
        }
        None => Err(Failure::new(
            Exit::File,
            "neither $XDG_STATE_HOME nor a home directory says where networks keep their files",
        )),
    }
}

fn wrong(found: &[Diagnostic], sources: &Sources) -> Failure {
    ui::talk(render::human(found, sources, look::of_stderr()).trim_end());
    Failure::said(Exit::Manifest)
}

/// Where a node of the manifest listens.
fn written<T>(
    env: &Environment,
    file: &Path,
    (name, pick): (&str, impl Fn(&Instance) -> Option<T>),
    of_member: impl Fn(&Member) -> Option<T>,
) -> Result<T, Failure> {
    match read(env, file)? {
        Written::Peers(members) => members
            .iter()
            .find(|member| member.name == name)
            .and_then(of_member)
            .ok_or_else(|| unknown(name, members.iter().map(|member| member.name.as_str()))),
        Written::Planned(plan) => plan
            .instance(name)
            .and_then(pick)
            .ok_or_else(|| unknown(name, names(&plan))),
    }
}

/// The configuration of a replica that runs in the foreground: TCP only, since nobody keeps its
/// socket files, and no health socket.
pub(super) fn replica(
    env: &SeedEnv,
    global: &Global,
    name: &str,
) -> Result<replica::Config, Failure> {
    let mut guarded = None;
    let mut limits = Box::new(WireLimits::default());
    let all = match read(&env.0, &manifest_file::find(None, global, &env.0)?)? {
        Written::Peers(members) => members
            .into_iter()
            .map(|member| (member.name, Endpoint::tcp(member.address, member.port)))
            .collect(),
        Written::Planned(plan) => {
            guarded = plan
                .instance(name)
                .and_then(first_door)
                .and_then(|it| it.guarded);
            if let Some(config) = replica_of(&plan, name) {
                limits = config.limits.clone();
            }
            mesh_of(&plan, name)
        }
    };
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(known, _)| known == name);
    let known = others.iter().map(|(known, _)| known.as_str());
    let own = own.into_iter().next();
    let (_, listen) = own.ok_or_else(|| unknown(name, known))?;
    Ok(replica::Config {
        name: name.into(),
        listen: vec![listen],
        peers: others
            .into_iter()
            .map(|(name, endpoint)| (name.as_str().into(), endpoint))
            .collect(),
        health: Endpoint::ipc("/nonexistent"),
        broadcast_ms: BROADCAST_MS,
        guarded,
        limits,
    })
}

/// What a replica of a plan is told, where it is one that is started here.
fn replica_of<'a>(plan: &'a Plan, name: &str) -> Option<&'a replica::Config> {
    let planned = plan.instance(name).and_then(|i| i.process.as_ref());
    match planned.map(|process| &process.exec) {
        Some(Exec::Role(roles::Config::Replica(config))) => Some(config),
        _ => None,
    }
}

/// A replica of a plan and the members it knows, by their TCP addresses.
fn mesh_of(plan: &Plan, name: &str) -> Vec<(String, Endpoint)> {
    let Some(config) = replica_of(plan, name) else {
        return Vec::new();
    };
    let known = config.peers.iter().map(|(peer, _)| peer.as_str());
    std::iter::once(name)
        .chain(known)
        .filter_map(|known| {
            Some((
                known.to_owned(),
                first_door(plan.instance(known)?)?.endpoint,
            ))
        })
        .collect()
}
