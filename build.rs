//! Turns the schema under `proto/` into Rust and into a descriptor set, and unpacks what a page needs.
//! No protoc is needed.

use std::error::Error;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for file in schema_files()? {
        compiler.open_file(file)?;
    }

    // Only the encoded form keeps custom options such as google.api.http.
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .bytes(".pykv.v1")
        // Written by hand, in src/wire/batch_get.rs.
        .extern_path(".pykv.v1.BatchGetRequest", "crate::wire::v1::BatchGetRequest")
        .extern_path(".pykv.v1.BatchGetResponse", "crate::wire::v1::BatchGetResponse")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_well_known_types(false)
        .compile_fds(compiler.file_descriptor_set())?;

    unpack_swagger_ui(&out)?;
    println!("cargo:rustc-env=PYKV_TARGET={}", std::env::var("TARGET")?);
    Ok(())
}

/// Takes what `/docs` needs out of the packed Swagger UI.
fn unpack_swagger_ui(out: &Path) -> Result<(), Box<dyn Error>> {
    let packed = Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED);
    let mut archive = zip::ZipArchive::new(packed)?;
    for wanted in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        let path = format!("/dist/{wanted}");
        let mut names = archive.file_names().filter_map(Result::ok);
        let named = names.find(|name| name.ends_with(&path)).map(|name| name.into_owned());
        drop(names);
        let name = named.ok_or("the packed Swagger UI lacks a file")?;
        std::io::copy(&mut archive.by_name(&name)?, &mut fs::File::create(out.join(wanted))?)?;
    }
    Ok(())
}

/// The files of our own package, and the error details so that they have a descriptor too.
fn schema_files() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let root = Path::new("proto");
    let mut files = vec!["google/rpc/error_details.proto".into()];
    for entry in fs::read_dir(root.join("pykv/v1"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path.strip_prefix(root)?.to_path_buf());
        }
    }
    files.sort();
    Ok(files)
}
