//! ZN1 requests and replies of any frames, with and without an envelope.

#![no_main]

use bytes::Bytes;
use zmqnet::protocol::envelope;
use zmqnet::protocol::zn1::{Reply, Request};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut frames: Vec<Bytes> = zmqnet_fuzz::chunks(input)
        .into_iter()
        .map(Bytes::copy_from_slice)
        .collect();
    let (before, body) = envelope::split(frames.clone());
    assert_eq!([before, body.clone()].concat(), frames, "nothing is lost");
    for body in [body, {
        frames.insert(0, Bytes::from_static(b"ZN1"));
        frames
    }] {
        match Request::decode(body.clone()) {
            Ok(request) => {
                let again =
                    Request::decode(request.encode()).expect("what was read can be written");
                // Numbers are left out: JSON reads some of them one bit off.
                assert_eq!((again.verb, again.id), (request.verb, request.id));
                assert_eq!(again.body, request.body);
            }
            Err(fault) => {
                Reply::malformed(&body, fault).encode();
            }
        }
        if let Ok(reply) = Reply::decode(body) {
            let again = Reply::decode(reply.encode()).expect("what was read can be written");
            assert_eq!(
                (again.status, again.id, again.body),
                (reply.status, reply.id, reply.body)
            );
        }
    }
});
