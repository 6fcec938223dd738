//! The program of the first app guide; with `--test` the guide's test of it.

mod guide {
    include!(concat!(env!("OUT_DIR"), "/first_app.rs"));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|argument| argument == "--test") {
        guide::tests::an_entry_comes_and_goes();
        return Ok(());
    }
    guide::main()
}
