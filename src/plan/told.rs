//! What programs are told by file: `ZMQNET_SOCKETS` and `PEERS_PATH`, as pure functions of an
//! instance. The runner writes them before it starts the program.

use serde_json::{Map, Value, json};

use super::{Instance, Socket};
use crate::model::endpoint::Endpoint;

/// The document of `ZMQNET_SOCKETS`: everything that the environment says, as data.
pub fn sockets(topology: &str, instance: &Instance) -> Value {
    let sockets: Map<String, Value> = instance
        .sockets
        .iter()
        .map(|socket| (socket.env.clone(), document(socket)))
        .collect();
    json!({
        "topology": topology,
        "node": instance.node,
        "name": instance.name,
        "index": instance.index,
        "sockets": sockets,
    })
}

fn document(socket: &Socket) -> Value {
    let mut document = json!({
        "links": socket.links,
        "type": socket.ty,
        "mode": socket.mode,
        "endpoints": socket.endpoints,
        "topics": socket.topics,
    });
    if !socket.peers.is_empty() {
        let peers: Map<String, Value> = socket
            .peers
            .iter()
            .map(|(name, endpoint)| (name.to_string(), json!(endpoint)))
            .collect();
        document["peers"] = peers.into();
    }
    document
}

/// The document of `PEERS_PATH`, in the shape of a ZMQ Net `peers.json`: the members of the
/// instance's meshes, itself included. Nothing where it stands on no mesh.
pub fn peers(instance: &Instance) -> Option<Value> {
    let meshed: Vec<&Socket> = instance
        .sockets
        .iter()
        .filter(|socket| !socket.peers.is_empty())
        .collect();
    let link = meshed.first()?.links.first()?;
    let own = instance
        .sockets
        .iter()
        .filter(|socket| socket.peers.is_empty() && socket.links.contains(link))
        .flat_map(|socket| &socket.endpoints)
        .map(|endpoint| (instance.name.to_string(), endpoint));
    let others = meshed
        .iter()
        .flat_map(|socket| &socket.peers)
        .map(|(name, endpoint)| (name.to_string(), endpoint));
    let replicas: Vec<Value> = own
        .chain(others)
        .filter_map(|(name, endpoint)| match endpoint {
            Endpoint::Tcp { host, port } => Some((name, host, port)),
            Endpoint::Ipc { .. } => None,
        })
        .enumerate()
        .map(|(index, (name, host, port))| {
            json!({
                "pid": index + 1,
                "name": name,
                "address": format!("{host}:{port}"),
                "host": host,
                "ipaddr": host,
                "port": port,
            })
        })
        .collect();
    Some(json!({"info": {"num_replicas": replicas.len()}, "replicas": replicas}))
}
