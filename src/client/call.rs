//! Calling a service: one JSON frame asks, one JSON frame answers, by a queue or straight to a provider.
//!
//! ```text
//! {"service": NAME, "args": [...], "trace": ID, "deadline_ms": N}
//! {"result": VALUE}   or   {"error": {"kind": WORD, "message": SENTENCE, "trace": TEXT}}
//! ```
//!
//! Whoever provides answers what it cannot do by an error and goes on. An answer of another shape is
//! handed on as it is, so that any program that answers requests can be called.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::queue::TaskFailure;

/// What is asked of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The service.
    pub service: String,
    /// What it is given.
    pub args: Vec<Value>,
    /// By which the call is found again in logs.
    pub trace: String,
    /// After so many milliseconds nobody waits any more.
    pub deadline_ms: u64,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It was done.
    Result(Value),
    /// It failed, and says how.
    Error(TaskFailure),
    /// Something of another shape.
    Other(Vec<Bytes>),
}

/// The frame of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Shape {
    Result(Value),
    Error(Fault),
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    trace: String,
}

impl Call {
    /// A call with a trace of its own.
    pub fn new(service: impl Into<String>, args: Vec<Value>, deadline_ms: u64) -> Self {
        Self {
            service: service.into(),
            args,
            trace: format!("{:016x}", fastrand::u64(..)),
            deadline_ms,
        }
    }

    /// The one frame that asks.
    pub fn frame(&self) -> Bytes {
        let asked = json!({
            "service": self.service,
            "args": self.args,
            "trace": self.trace,
            "deadline_ms": self.deadline_ms,
        });
        asked.to_string().into()
    }
}

impl Answer {
    /// Reads an answer.
    pub fn read(frames: Vec<Bytes>) -> Self {
        let [frame] = frames.as_slice() else {
            return Self::Other(frames);
        };
        match serde_json::from_slice(frame) {
            Ok(Shape::Result(value)) => Self::Result(value),
            Ok(Shape::Error(fault)) => Self::Error(TaskFailure {
                kind: fault.kind,
                message: fault.message,
                trace: fault.trace,
            }),
            Err(_) => Self::Other(frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Answer {
        Answer::read(vec![Bytes::from_static(text.as_bytes())])
    }

    #[test]
    fn results_errors_and_anything_else_are_told_apart() {
        assert_eq!(read("{\"result\": 42}"), Answer::Result(42.into()));
        assert_eq!(read("{\"result\": null}"), Answer::Result(Value::Null));
        let failure = TaskFailure {
            kind: "ValueError".to_owned(),
            message: "no".to_owned(),
            trace: String::new(),
        };
        let text = "{\"error\": {\"kind\": \"ValueError\", \"message\": \"no\"}}";
        assert_eq!(read(text), Answer::Error(failure));
        for other in ["", "hello", "{}", "{\"result\": 1, \"error\": {}}", "[1]"] {
            assert!(matches!(read(other), Answer::Other(_)), "{other}");
        }
    }

    #[test]
    fn a_call_is_one_frame_of_json() {
        let mut call = Call::new("add", vec![17.into(), "x".into()], 5_000);
        call.trace = "t".to_owned();
        let frame: Value = serde_json::from_slice(&call.frame()).unwrap();
        let expected = json!({
            "service": "add", "args": [17, "x"], "trace": "t", "deadline_ms": 5000,
        });
        assert_eq!(frame, expected);
    }
}
