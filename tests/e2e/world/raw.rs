//! What no well-behaved client sends: bytes on a socket.

use std::collections::HashMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{LONG, Server};

/// HTTP/2's first words, and settings that ask for nothing.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An answer by HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The names of headers that concern pages of other origins.
    pub(crate) fn cors_headers(&self) -> Vec<&String> {
        self.headers.keys().filter(|name| name.starts_with("access-control-")).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The frames of grpc-web: messages, and the trailers as text.
    pub(crate) fn frames(&self) -> (Vec<Vec<u8>>, String) {
        let (mut messages, mut trailers, mut rest) = (Vec::new(), String::new(), &self.body[..]);
        while let [kind, a, b, c, d, tail @ ..] = rest {
            let (frame, tail) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            match kind {
                0 => messages.push(frame.to_vec()),
                0x80 => trailers = String::from_utf8(frame.to_vec()).unwrap(),
                other => panic!("a frame of kind {other}"),
            }
            rest = tail;
        }
        (messages, trailers)
    }
}

/// A connection that says these bytes.
pub(crate) async fn say(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    // The other side may have had enough before the end.
    let _ = socket.write_all(bytes).await;
    socket
}

/// Everything that comes until the other side closes.
pub(crate) async fn hear(socket: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(LONG, socket.read_to_end(&mut heard)).await.expect("the server closes");
    heard
}

/// Sends a request by HTTP/1.1 and reads the answer.
pub(crate) async fn request(server: &Server, head: &str, body: &[u8]) -> Reply {
    let length = body.len();
    let head = format!(
        "{head}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n",
        server.address()
    );
    let mut socket = say(server, &[head.as_bytes(), body].concat()).await;
    reply(&hear(&mut socket).await)
}

fn reply(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers: HashMap<String, String> = lines.map(header).collect();
    let body = &answer[end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
    Reply { status, headers, body: if chunked { joined(body) } else { body.to_vec() } }
}

/// The chunks of a body as one.
fn joined(mut chunked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunked.windows(2).position(|two| two == b"\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(std::str::from_utf8(&chunked[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunked[end + 2..][..size]);
        chunked = &chunked[end + 2 + size + 2..];
    }
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call: a HEADERS frame that leaves the stream open.
pub(crate) fn call(stream: u32, path: &str) -> Vec<u8> {
    // Method and scheme from the static table, the rest as literals that nobody need remember.
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x01x");
    block.extend_from_slice(b"\x0f\x10\x10application/grpc");
    block.extend_from_slice(b"\x00\x02te\x08trailers");
    frame(1, 0x4, stream, &block)
}

/// Kind and payload of the frames that were heard as a whole.
pub(crate) fn frames(mut heard: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = heard {
        let Some((payload, rest)) = rest.split_at_checked(u32::from_be_bytes([0, *a, *b, *c]) as usize)
        else {
            break;
        };
        frames.push((*kind, payload));
        heard = rest;
    }
    frames
}
