//! The files of a `configure` step: read here, filled in for each host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::ConfigErrors,
    file,
    inventory::{Cluster, Host, Var},
    source,
};
use crate::core::{
    configure::{Configure, Source},
    install::sha256,
};

/// What a directory may hold, and how large a file may be: a configuration, and no data.
const MOST_FILES: usize = 500;
/// Certificates of a whole country's authorities are 200 kB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Why files can't be put on hosts.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A template, with its mistakes, and the hosts for which it has them.
    #[error("{errors}\n  for {}", .hosts.join(", "))]
    Template {
        /// The hosts.
        hosts: Vec<String>,
        /// The mistakes.
        errors: Box<ConfigErrors>,
    },
    /// A file can't be read.
    #[error("{} can't be read", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What is wrong with a file or a value, in words.
    #[error("{0}")]
    Unfit(String),
}

/// A file for one host, filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Where it comes from, for messages.
    pub from: PathBuf,
    /// Where it goes; none: where the server's own configuration is.
    pub to: Option<String>,
    /// What is in it.
    pub content: Arc<[u8]>,
    /// Its mode in octal; none: that of what stands there.
    pub mode: Option<String>,
    /// Its owner; none: that of what stands there.
    pub owner: Option<String>,
}

/// All files of a step, for the hosts that get them.
#[derive(Default)]
pub struct Files {
    /// By host.
    pub by_host: BTreeMap<String, Vec<Rendered>>,
    /// Values that are shown nowhere.
    pub secrets: BTreeSet<String>,
}

impl Files {
    /// Every content by its sha256.
    pub fn contents(&self) -> BTreeMap<String, Arc<[u8]>> {
        self.by_host.values().flatten().map(|file| (sha256(&file.content), Arc::clone(&file.content))).collect()
    }
}

/// Reads a step's files and fills them in for `hosts` of a cluster. What is wrong for several hosts is told once.
///
/// # Errors
/// A file can't be read, a name in a template is nobody's, or a value is not where the inventory says.
pub fn fill(step: &Configure, cluster: &Cluster, hosts: &[String]) -> Result<Files, FilesError> {
    let mut read = Vec::new();
    for source in &step.files {
        read.extend(files_of(source)?);
    }
    let mut files = Files::default();
    let mut wrong: Vec<(Vec<String>, Box<ConfigErrors>)> = Vec::new();
    for host in cluster.hosts.iter().filter(|host| hosts.contains(&host.name)) {
        let variables = variables(cluster, host, &mut files.secrets)?;
        let mut own = Vec::new();
        for file in &read {
            let content = match &file.content {
                Content::Plain(content) => Arc::clone(content),
                Content::Template(text) => match file::render(&file.path, text, &variables) {
                    Ok(text) => text.into_bytes().into(),
                    Err(errors) => {
                        let same = |known: &&mut (Vec<String>, Box<ConfigErrors>)| {
                            known.1.path() == errors.path() && known.1.mistakes() == errors.mistakes()
                        };
                        match wrong.iter_mut().find(same) {
                            Some((hosts, _)) => hosts.push(host.name.clone()),
                            None => wrong.push((vec![host.name.clone()], Box::new(errors))),
                        }
                        continue;
                    }
                },
            };
            let Source { mode, owner, .. } = file.source.clone();
            own.push(Rendered { from: file.path.clone(), to: file.to.clone(), content, mode, owner });
        }
        files.by_host.insert(host.name.clone(), own);
    }
    match wrong.into_iter().next() {
        Some((hosts, errors)) => Err(FilesError::Template { hosts, errors }),
        None => Ok(files),
    }
}

/// What templates of a host may name, with its value.
fn variables(
    cluster: &Cluster,
    host: &Host,
    secrets: &mut BTreeSet<String>,
) -> Result<BTreeMap<String, String>, FilesError> {
    let mut found = BTreeMap::new();
    let facts = [host.name.clone(), host.server_name.clone(), cluster.name.clone()];
    found.extend(file::FACTS.iter().map(|name| (*name).to_owned()).zip(facts));
    found.extend(host.zone.clone().map(|zone| ("zone".to_owned(), zone)));
    for (name, var) in &host.vars {
        let value = match var {
            Var::Plain(text) => text.clone(),
            Var::Env(variable) => secret(
                secrets,
                std::env::var(variable).map_err(|_| {
                    FilesError::Unfit(format!(
                        "the variable `{name}` of {} is in ${variable}, which is not set",
                        host.name
                    ))
                })?,
            ),
            Var::File(path) => {
                let text = fs::read_to_string(path).map_err(|cause| FilesError::Io { path: path.clone(), cause })?;
                secret(secrets, text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        found.insert(name.clone(), value);
    }
    Ok(found)
}

fn secret(secrets: &mut BTreeSet<String>, value: String) -> String {
    secrets.extend(value.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    value
}

/// A file as it is here.
struct Read<'a> {
    source: &'a Source,
    path: PathBuf,
    to: Option<String>,
    content: Content,
}

enum Content {
    Plain(Arc<[u8]>),
    Template(String),
}

/// A source's file, or all files in its directory.
fn files_of(source: &Source) -> Result<Vec<Read<'_>>, FilesError> {
    let from = PathBuf::from(&source.from);
    let is_directory = fs::metadata(&from).map_err(|cause| FilesError::Io { path: from.clone(), cause })?.is_dir();
    if !is_directory {
        let to = source.to.clone();
        if let Some(to) = to.as_ref().filter(|to| to.ends_with('/')) {
            return Err(FilesError::Unfit(format!("{}: {to} is a directory; name the file in it", from.display())));
        }
        return Ok(vec![read(source, from, to)?]);
    }
    let Some(to) = &source.to else {
        let text = format!("{} is a directory: say with `to` to which directory its files go", from.display());
        return Err(FilesError::Unfit(text));
    };
    let mut paths = Vec::new();
    walk(&from, &mut paths)?;
    paths.sort();
    let place = |path: &Path| {
        let name = path.strip_prefix(&from).unwrap_or(path).display().to_string();
        let name = if is_template(source, path) { name.strip_suffix(".j2").unwrap_or(&name).to_owned() } else { name };
        format!("{}/{name}", to.trim_end_matches('/'))
    };
    paths
        .into_iter()
        .map(|path| {
            let to = place(&path);
            read(source, path, Some(to))
        })
        .collect()
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), FilesError> {
    let failed = |cause| FilesError::Io { path: directory.to_owned(), cause };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let data = fs::metadata(&path).map_err(|cause| FilesError::Io { path: path.clone(), cause })?;
        if data.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
        if found.len() > MOST_FILES {
            return Err(FilesError::Unfit(format!("{} has more than {MOST_FILES} files", directory.display())));
        }
    }
    Ok(())
}

fn is_template(source: &Source, path: &Path) -> bool {
    source.template.unwrap_or_else(|| path.extension().is_some_and(|extension| extension == "j2"))
}

fn read<'a>(source: &'a Source, path: PathBuf, to: Option<String>) -> Result<Read<'a>, FilesError> {
    if to.as_ref().is_some_and(|to| to.chars().any(char::is_control)) {
        return Err(FilesError::Unfit(format!("{:?}: control characters in a name", path.display().to_string())));
    }
    let content = if is_template(source, &path) {
        let text = source::read(&path, "template");
        Content::Template(
            text.map_err(|errors| FilesError::Template { hosts: vec!["every host".into()], errors: Box::new(errors) })?,
        )
    } else {
        let failed = |cause| FilesError::Io { path: path.clone(), cause };
        if fs::metadata(&path).map_err(failed)?.len() > LARGEST {
            return Err(FilesError::Unfit(format!("{} is larger than {} MiB", path.display(), LARGEST >> 20)));
        }
        Content::Plain(fs::read(&path).map_err(failed)?.into())
    };
    Ok(Read { source, path, to, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inventory;

    fn cluster(vars: &str) -> Cluster {
        let text = format!(
            "defaults:\n  vars: {{port: 4222, tls: false}}\nclusters:\n  c:\n    vars: {{port: 4333}}\n    hosts:\n    - {{name: n1, zone: a, vars: {{{vars}}}}}\n    - {{name: n2, server_name: two}}\n"
        );
        Inventory::parse(Path::new("i.yaml"), &text).unwrap_or_else(|errors| panic!("{errors}")).clusters.remove(0)
    }

    fn step(from: &Path, to: Option<&str>) -> Configure {
        let from = from.display().to_string();
        let source = Source { from, to: to.map(str::to_owned), template: None, mode: None, owner: None };
        Configure { files: vec![source], how: Default::default(), deadline: std::time::Duration::ZERO }
    }

    fn hosts() -> Vec<String> {
        ["n1", "n2"].map(String::from).into()
    }

    fn text(files: &Files, host: &str, place: usize) -> String {
        String::from_utf8(files.by_host[host][place].content.to_vec()).unwrap()
    }

    #[test]
    fn a_template_has_the_nearest_variable_and_the_facts_of_its_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n.conf.j2");
        fs::write(&path, "{{ server }} {{ cluster }} {{ port }}{% if tls %} tls{% endif %}\n").unwrap();
        let files = fill(&step(&path, None), &cluster("port: 4444, tls: true"), &hosts()).unwrap();
        assert_eq!((text(&files, "n1", 0), text(&files, "n2", 0)), ("n1 c 4444 tls\n".into(), "two c 4333\n".into()));
        assert_eq!(files.contents().len(), 2);
    }

    #[test]
    fn secrets_come_from_elsewhere_and_are_remembered_as_such() {
        let directory = tempfile::tempdir().unwrap();
        let (path, secret) = (directory.path().join("n.conf.j2"), directory.path().join("secret"));
        fs::write(&path, "{{ route_password }}").unwrap();
        fs::write(&secret, "hunter2\n").unwrap();
        let vars = format!("route_password: {{file: {}}}", secret.display());
        let files = fill(&step(&path, None), &cluster(&vars), &["n1".into()]).unwrap();
        assert_eq!((text(&files, "n1", 0).as_str(), files.secrets.contains("hunter2")), ("hunter2", true));
        let vars = "route_password: {env: ROLLGATE_TEST_NOT_SET}";
        let Err(error) = fill(&step(&path, None), &cluster(vars), &hosts()) else { panic!("it is not set") };
        assert!(error.to_string().contains("$ROLLGATE_TEST_NOT_SET"), "{error}");
    }

    #[test]
    fn a_name_that_is_nobody_s_is_told_once_with_its_hosts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n.conf.j2");
        fs::write(&path, "a: 1\nport: {{ prot }}\n").unwrap();
        let Err(error) = fill(&step(&path, None), &cluster(""), &hosts()) else { panic!("nobody's") };
        let text = error.to_string();
        assert!(text.contains("n.conf.j2:2:10") && text.ends_with("for n1, n2"), "{text}");
    }

    #[test]
    fn a_directory_brings_all_its_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("tls")).unwrap();
        fs::write(directory.path().join("n.conf.j2"), "{{ host }}").unwrap();
        fs::write(directory.path().join("tls/key.pem"), [0xff, 0]).unwrap();
        let files = fill(&step(directory.path(), Some("/etc/nats/")), &cluster(""), &["n1".into()]).unwrap();
        let places: Vec<_> = files.by_host["n1"].iter().map(|file| file.to.clone().unwrap()).collect();
        assert_eq!(places, ["/etc/nats/n.conf", "/etc/nats/tls/key.pem"]);
        assert_eq!(text(&files, "n1", 0), "n1");
        assert!(fill(&step(directory.path(), None), &cluster(""), &hosts()).is_err());
        assert!(fill(&step(&directory.path().join("none"), None), &cluster(""), &hosts()).is_err());
    }
}
