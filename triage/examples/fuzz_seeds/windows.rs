//! The re-enacted crash.

#[path = "../../tests/windows/machine.rs"]
pub mod machine;
#[path = "../../tests/windows/scene.rs"]
pub mod scene;
#[path = "../../tests/windows/writer.rs"]
pub mod writer;
