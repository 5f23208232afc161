//! Keys that people know from other tools, and what they are called here.

/// A key of another tool, the keys it may stand for here, and what to write where one word is not
/// enough. The first of the words that may stand in the same place is suggested.
const FOREIGN: &[(&str, &[&str], Option<&str>)] = &[
    ("services", &["nodes"], None),
    ("processes", &["nodes"], None),
    ("programs", &["nodes"], None),
    ("containers", &["nodes"], None),
    ("connections", &["links"], None),
    ("edges", &["links"], None),
    ("networks", &["links"], None),
    ("wires", &["links"], None),
    ("version", &["zmqnet"], Some("`zmqnet: 1`")),
    ("apiVersion", &["zmqnet"], Some("`zmqnet: 1`")),
    ("variables", &["vars"], None),
    ("includes", &["include"], None),
    ("machines", &["hosts"], None),
    ("depends_on", &["after"], None),
    ("dependsOn", &["after"], None),
    ("requires", &["after"], None),
    ("needs", &["after"], None),
    ("environment", &["env"], None),
    ("env_file", &["env"], Some("`env: {NAME: {file: PATH}}`")),
    ("ports", &["port"], None),
    ("expose", &["port"], None),
    ("listen_port", &["port"], None),
    ("restart_policy", &["restart"], None),
    ("restartPolicy", &["restart"], None),
    ("autorestart", &["restart"], None),
    ("healthcheck", &["probe"], None),
    ("health_check", &["probe"], None),
    ("livenessProbe", &["probe"], None),
    ("readinessProbe", &["probe"], None),
    ("working_dir", &["cwd"], None),
    ("workingDir", &["cwd"], None),
    ("workdir", &["cwd"], None),
    ("directory", &["cwd"], None),
    ("deploy", &["replicas"], Some("`replicas: N`")),
    ("scale", &["replicas"], None),
    ("instances", &["replicas"], None),
    ("count", &["replicas"], None),
    ("numprocs", &["replicas"], None),
    ("cmd", &["command"], None),
    ("exec", &["command"], None),
    ("args", &["command"], None),
    ("entrypoint", &["command"], None),
    ("run_command", &["command"], None),
    ("type", &["kind", "pattern"], None),
    ("role", &["kind"], None),
    ("stop_signal", &["stop"], Some("`stop: {signal: TERM}`")),
    ("stopsignal", &["stop"], Some("`stop: {signal: TERM}`")),
    ("stop_grace_period", &["stop"], Some("`stop: {grace: 5s}`")),
    ("stopwaitsecs", &["stop"], Some("`stop: {grace: 5s}`")),
    ("mem_limit", &["limits"], Some("`limits: {memory: 64MiB}`")),
    ("resources", &["limits"], None),
    ("ulimits", &["limits"], None),
    ("logging", &["logs"], None),
    ("volumes", &["store"], Some("`store: {path: DIR}`")),
    ("volume", &["store"], Some("`store: {path: DIR}`")),
    ("placement", &["host"], None),
    ("publisher", &["from"], None),
    ("publishers", &["from"], None),
    ("source", &["from"], None),
    ("client", &["from"], None),
    ("clients", &["from"], None),
    ("subscriber", &["to"], None),
    ("subscribers", &["to"], None),
    ("target", &["to"], None),
    ("server", &["to"], None),
    ("servers", &["to"], None),
    ("members", &["among"], None),
    ("nodes", &["among"], None),
    ("broker", &["via"], None),
    ("topic", &["topics"], None),
    ("bind", &["listen"], None),
    ("interval", &["every"], None),
    ("period", &["every"], None),
    ("start_period", &["grace"], None),
    ("initialDelaySeconds", &["grace"], None),
    ("test", &["exec"], None),
    ("failureThreshold", &["retries"], None),
    ("attempts", &["retries"], None),
    ("high_water_mark", &["hwm"], None),
    ("highwater", &["hwm"], None),
    ("encryption", &["curve"], None),
    ("ip", &["address"], None),
];

/// What to write instead of a key of another tool, where one of `allowed` says it.
pub(super) fn instead(key: &str, allowed: &[&str]) -> Option<String> {
    FOREIGN
        .iter()
        .filter(|(foreign, _, _)| *foreign == key)
        .find_map(|(_, own, written)| {
            let word = own.iter().find(|word| allowed.contains(word))?;
            Some(written.map_or_else(|| format!("`{word}`"), str::to_owned))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_stand_here_is_suggested() {
        assert_eq!(instead("depends_on", &["after"]), Some("`after`".into()));
        assert_eq!(instead("depends_on", &["nodes"]), None);
        assert_eq!(instead("type", &["pattern"]), Some("`pattern`".into()));
        assert_eq!(instead("version", &["zmqnet"]), Some("`zmqnet: 1`".into()));
    }
}
