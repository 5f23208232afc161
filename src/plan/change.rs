//! What `apply` is going to do: the difference between two plans, step by step.

use serde::{Deserialize, Serialize};

use crate::model::name::InstanceName;

/// One step from the old plan to the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number, from 1.
    pub n: u32,
    /// The steps that must be done before it.
    pub needs: Vec<u32>,
    /// What is done.
    pub op: Op,
    /// To which instance.
    pub node: InstanceName,
    /// How gently it can be done.
    pub class: Class,
    /// Why, in words that name the manifest's keys.
    pub cause: String,
    /// The wires that are interrupted, or that come or go by an update, as `LINK FROM > TO`.
    pub wires: Vec<String>,
}

/// What is done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// It is new.
    Start,
    /// It is gone from the manifest.
    Stop,
    /// It stops and starts again as the new plan says.
    Restart,
    /// It goes on; whom it dials or what watches over it changes.
    Update,
}

/// How gently a changed field can be carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// While it runs.
    Live,
    /// By a restart.
    Restart,
    /// By a restart of one instance after the other.
    Roll,
    /// Not at all without being told how.
    Refuse,
}
