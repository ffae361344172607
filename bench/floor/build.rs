use std::{env, fmt::Write, fs, path::Path};

/// haul's own migrations, in order, as one list of texts: a floor writes the tables that the product writes.
fn schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../server/src/store/sqlite/migration");
    println!("cargo:rerun-if-changed={}", folder.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut files: Vec<_> = fs::read_dir(&folder).expect("haul's migrations").map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        writeln!(list, "include_str!({:?}),", file.canonicalize().unwrap()).unwrap();
    }
    list.push(']');
    fs::write(Path::new(&env::var_os("OUT_DIR").unwrap()).join("schema.rs"), list).unwrap();
}

fn main() {
    schema();
    // The service is described by hand, so no protoc is needed.
    let watch = tonic_build::manual::Method::builder()
        .name("watch")
        .route_name("Watch")
        .input_type("crate::WatchRequest")
        .output_type("crate::Progress")
        .codec_path("tonic_prost::ProstCodec")
        .server_streaming()
        .build();
    let svc = tonic_build::manual::Service::builder().name("Fanout").package("floor").method(watch).build();
    // haul's own, as far as a watcher of latency reads it.
    let start = tonic_build::manual::Method::builder()
        .name("start_batch")
        .route_name("StartBatch")
        .input_type("crate::haul::StartBatchRequest")
        .output_type("crate::haul::StartBatchResponse")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let watch = tonic_build::manual::Method::builder()
        .name("watch_progress")
        .route_name("WatchProgress")
        .input_type("crate::haul::WatchProgressRequest")
        .output_type("crate::haul::WatchProgressResponse")
        .codec_path("tonic_prost::ProstCodec")
        .server_streaming()
        .build();
    let haul = tonic_build::manual::Service::builder().name("HaulService").package("haul.v1").method(start).method(watch).build();
    tonic_build::manual::Builder::new().build_server(true).compile(&[svc]);
    tonic_build::manual::Builder::new().build_server(false).compile(&[haul]);
}
