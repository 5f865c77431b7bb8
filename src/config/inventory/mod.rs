//! The inventory: which clusters there are, and how each host of them is reached and managed.

mod destination;
mod endpoint;
mod kv;
mod layers;
mod nats;
pub(crate) mod raw;
mod resolve;
mod select;
mod service;
mod types;
mod url;
mod vars;

use std::path::Path;

pub use select::{SelectError, Selection};
pub use types::{
    Become, ClientPort, Cluster, Host, Inventory, Kv, Login, Monitoring, Mux, Nats, PasswordSource, Service, Ssh,
    TlsFiles, Var, Via,
};
pub use url::UrlTemplate;

use super::check::Checker;
use super::error::ConfigErrors;
use super::yaml::Spanned;
use super::{source, yaml};

impl Inventory {
    /// Reads and checks the inventory file at `path`.
    ///
    /// # Errors
    /// Every mistake found in the file, or why it could not be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(path, &source::read(path, "inventory")?)
    }

    /// Checks `text` as the inventory that stands at `path`, to whose directory relative paths
    /// in it refer; `~` is the home directory of who runs this. Reads no file.
    ///
    /// # Errors
    /// Every mistake found in the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let (raw, mut mistakes) = yaml::read::<Spanned<raw::RawInventory>>(text);
        let mut checker = Checker::new(path, etcetera::home_dir().ok());
        let clusters = raw.as_ref().map(|raw| resolve::resolve(raw, &mut checker)).unwrap_or_default();
        let state =
            raw.as_ref().and_then(|raw| raw.value.state.as_ref()).and_then(|raw| kv::resolve(raw, &mut checker));
        mistakes.extend(checker.into_mistakes());
        if mistakes.is_empty() {
            Ok(Self { path: path.to_owned(), digest: source::digest(text), clusters, state })
        } else {
            Err(ConfigErrors::new(path, text, mistakes))
        }
    }
}
