//! Compiles `proto/haul/v1` without protoc.

use std::{env, fs, io, path::PathBuf};

use prost_build::{Service, ServiceGenerator};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut protos: Vec<PathBuf> = fs::read_dir("proto/haul/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    protos.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    protos.sort();

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&protos)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The compiler's own bytes: prost's structs would drop the options that they do not know.
    fs::write(out.join("haul.binpb"), compiler.encode_file_descriptor_set())?;

    let stubs = || tonic_prost_build::configure().build_transport(false);
    prost_build::Config::new()
        // In key order, so that equal messages have equal bytes: request ids are checked by a hash of them.
        .btree_map(["."])
        .service_generator(Box::new(Stubs {
            client: stubs().build_server(false).service_generator(),
            server: stubs().build_client(false).codec_path("crate::Codec").service_generator(),
        }))
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Client and server as tonic makes them, but for the server's buffers (`proto/codec.rs`) and one answer: a server sends a
/// watch's events in pieces that were encoded before (`proto/frame.rs`), which a client cannot tell from the message.
struct Stubs {
    client: Box<dyn ServiceGenerator>,
    server: Box<dyn ServiceGenerator>,
}

impl ServiceGenerator for Stubs {
    fn generate(&mut self, mut service: Service, code: &mut String) {
        self.client.generate(service.clone(), code);
        for method in service.methods.iter_mut().filter(|method| method.proto_name == "WatchProgress") {
            "crate::WatchFrame".clone_into(&mut method.output_type);
        }
        self.server.generate(service, code);
    }

    fn finalize(&mut self, code: &mut String) {
        self.client.finalize(code);
        self.server.finalize(code);
    }
}
