//! Makes programs of the guides' blocks in Rust.

use std::path::PathBuf;

#[path = "src/blocks.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod blocks;

use blocks::{block, replaced};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=src/blocks.rs");
    println!("cargo::rerun-if-changed=../../ddp-postgres/docs");
    // Cargo sets it for every build script.
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("a folder for what is made"));
    std::fs::write(folder.join("first_app.rs"), first_app())?;
    std::fs::write(folder.join("login.rs"), login())
}

/// The program of the first app with its test, as a module whose `main` and test can be called. It
/// listens at the port that it is told, since many tests run at once.
fn first_app() -> String {
    let program = block("first-app.md", "2. A program", "rust", 0);
    let program = replaced(&program, "async fn main()", "pub(crate) async fn main()");
    let address = r#"format!("127.0.0.1:{}", std::env::var("PORT")?)"#;
    let program = replaced(&program, r#""127.0.0.1:3000""#, address);
    let test = block("first-app.md", "5. A test", "rust", 0);
    let test = replaced(&test, "#[cfg(test)]\nmod tests", "pub(crate) mod tests");
    let test = replaced(&test, "#[tokio::test]\n    async", "#[tokio::main]\n    pub(crate) async");
    format!("{program}\n{test}")
}

/// The recipe for logins as a function that gives its server's builder.
fn login() -> String {
    let recipe = block("operations.md", "Logins of a web application", "rust", 0);
    let builder = "ddp_server::ServerBuilder<ddp_postgres::Db>";
    let expected = r#"#[expect(clippy::let_and_return, reason = "the recipe names its server")]"#;
    format!("{expected}\nfn recipe() -> {builder} {{\n{recipe}\nserver\n}}\n")
}
