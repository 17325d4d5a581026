use std::collections::BTreeMap;

use sluice_worker::AgentsFile;

use super::*;

/// What a checkout has and a user of the binary does not need.
const LEFT_OUT: [&str; 2] = [".gitignore", "test_agents.py"];
/// What the agents and Python make in a checkout.
const MADE: [&str; 2] = [".shop", "__pycache__"];

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sluice-example-{}-{name}", std::process::id()));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path).unwrap();
    path
}

/// Path, text and whether it can be executed, of every file below a folder.
fn tree(root: &Path, folder: &Path, found: &mut BTreeMap<String, (String, bool)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if MADE.contains(&path.file_name().unwrap().to_str().unwrap()) {
            continue;
        }
        if path.is_dir() {
            tree(root, &path, found);
        } else {
            let executable = fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0;
            found.insert(name, (fs::read_to_string(&path).unwrap(), executable));
        }
    }
}

fn files_of(root: &Path) -> BTreeMap<String, (String, bool)> {
    let mut found = BTreeMap::new();
    tree(root, root, &mut found);
    found
}

#[test]
fn unpacking_gives_the_example_with_its_modes() {
    let folder = scratch("whole");
    let example = Example::in_folder(&folder);
    assert_eq!(example.unpack().unwrap(), Unpacked::New);
    let mut original = files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop"));
    original.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    let unpacked = files_of(&example.program());
    let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&unpacked), names(&original), "a file is missing in files.rs, or too many");
    assert!(unpacked == original, "texts or modes differ");
    assert_eq!(AgentsFile::load(&example.agents_file()).unwrap().agents().count(), 6);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_differs_is_replaced_and_what_was_made_stays() {
    let folder = scratch("update");
    let example = Example::in_folder(&folder);
    example.unpack().unwrap();
    fs::write(example.program().join(HOME_LINK).join("work.txt"), "mine").unwrap();
    assert_eq!(example.unpack().unwrap(), Unpacked::AsItWas);

    let agents = example.agents_file();
    fs::write(&agents, "agents: {}\n").unwrap();
    assert_eq!(example.unpack().unwrap(), Unpacked::Replaced);
    assert_ne!(fs::read_to_string(&agents).unwrap(), "agents: {}\n");
    assert_eq!(fs::read_to_string(example.before().join("agents.yaml")).unwrap(), "agents: {}\n");

    fs::set_permissions(example.program().join(PROGRAM), fs::Permissions::from_mode(0o644))
        .unwrap();
    assert_eq!(example.unpack().unwrap(), Unpacked::Replaced);
    // Left by a process that was killed between its two renames.
    fs::rename(example.program(), folder.join("example-new")).unwrap();
    assert_eq!(example.unpack().unwrap(), Unpacked::New);
    assert!(is_current(&example.program()));
    assert_eq!(fs::read_to_string(folder.join("shop/work.txt")).unwrap(), "mine");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn paths_are_quoted_for_shells_only_where_they_must_be() {
    assert_eq!(quoted(Path::new("./.sluice/example")), "./.sluice/example");
    assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
}
