//! Uploads by grpc-web. A page cannot send a stream, but one body may hold all of its messages.

use haul_proto::v1::{UploadItemsRequest, UploadItemsResponse, batch::State};
use prost::Message;

use super::{ONE, TWO, begin, chunk, committed, header, named};
use crate::world::{
    Server,
    raw::{self, Reply},
};

fn body(messages: &[UploadItemsRequest]) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        let bytes = message.encode_to_vec();
        body.push(0);
        body.extend((bytes.len() as u32).to_be_bytes());
        body.extend(bytes);
    }
    body
}

async fn post(server: &Server, body: &[u8]) -> Reply {
    let head = "POST /haul.v1.HaulService/UploadItems HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1";
    raw::request(server, head, body).await
}

fn answer(reply: &Reply) -> UploadItemsResponse {
    let (messages, trailers) = reply.frames();
    assert!(trailers.contains("grpc-status:0"), "{trailers:?}");
    UploadItemsResponse::decode(&*messages[0]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_body_holds_an_upload_and_a_next_one_goes_on() {
    let server = Server::start([]).await;
    let name = begin(&server).await;
    let first = [header(&name, ONE), chunk(0, named(&["a", "b"]), false), chunk(2, named(&["c"]), false)];
    assert_eq!(answer(&post(&server, &body(&first)).await).committed_items, 3);
    // What a client sends that knows of one message a call: it begins, and brings nothing.
    assert_eq!(answer(&post(&server, &body(&[header(&name, TWO)])).await).committed_items, 0);
    let last = [header(&name, ONE), chunk(3, named(&["d"]), true)];
    let sealed = answer(&post(&server, &body(&last)).await);
    assert_eq!((sealed.committed_items, sealed.batch.unwrap().state()), (4, State::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_its_reason_and_what_was_whole_before_it_stays() {
    let server = Server::start([]).await;
    let name = begin(&server).await;
    let good = [header(&name, ONE), chunk(0, named(&["a"]), false)];
    let mut cut = body(&[good[0].clone(), good[1].clone(), chunk(1, named(&["b", "c"]), true)]);
    cut.truncate(cut.len() - 3);
    for (sent, status, kept) in [
        (body(&[chunk(0, named(&["a"]), false)]), "3", 0),
        (body(&[good[0].clone(), good[1].clone(), chunk(5, named(&["f"]), true)]), "11", 1),
        (cut, "", 1),
    ] {
        let reply = post(&server, &sent).await;
        let told = reply.header("grpc-status");
        assert!(told != "0" && !told.is_empty(), "{reply:?}");
        if !status.is_empty() {
            assert_eq!(told, status, "{reply:?}");
            assert!(!reply.header("grpc-status-details-bin").is_empty(), "it has a reason: {reply:?}");
        }
        assert_eq!(committed(&server, &name, ONE).await, kept);
    }
    server.batch_in(&name, State::Open).await;
}
