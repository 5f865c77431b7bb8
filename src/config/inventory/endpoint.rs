//! URL and TLS files of an endpoint.

use std::path::PathBuf;

use super::types::TlsFiles;
use super::url::{self, UrlTemplate};
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::suggest;
use crate::config::yaml::{Spanned, printable};

/// A value and the number of the level that it comes from; 0 is nearest.
pub(super) type Found<'r> = Option<(usize, &'r Spanned<String>)>;

/// The template in `text`, whose scheme is to be one of `schemes`; notes what is wrong.
pub(super) fn check_url(text: &Spanned<String>, schemes: &[&str], checker: &mut Checker) -> Option<UrlTemplate> {
    let Err(error) = url::check(&text.value, schemes) else {
        return Some(UrlTemplate::checked(text.value.clone()));
    };
    let help = match &error {
        url::UrlError::NoScheme => format!("write `{}://{{address}}:PORT`", schemes[0]),
        url::UrlError::Scheme(_) => {
            format!("write one of {}", suggest::list(schemes.iter().copied()))
        }
        url::UrlError::Userinfo => "secrets are not written inline".to_owned(),
        url::UrlError::Placeholder(name) => suggest::hint(name, url::PLACEHOLDERS),
        url::UrlError::Brace => "placeholders are {name}, {address} and {server_name}".to_owned(),
        url::UrlError::Path => "end it after the host and port; paths are added".to_owned(),
        url::UrlError::NoHost | url::UrlError::Host | url::UrlError::Port => {
            format!("write `{}://HOST:PORT`, an IPv6 address in brackets", schemes[0])
        }
    };
    let message = printable(&error.to_string());
    checker.note(Mistake::at(text.span, message).help(help));
    None
}

/// `ca`, `cert` and `key`, the latter two only together.
pub(super) fn tls_files(
    [ca, cert, key]: [Found<'_>; 3],
    lost: impl Fn(&str) -> bool,
    checker: &mut Checker,
) -> TlsFiles {
    let lone = match (cert, key) {
        (Some((_, cert)), None) if !lost("key") => Some((cert, "cert", "key")),
        (None, Some((_, key))) if !lost("cert") => Some((key, "key", "cert")),
        _ => None,
    };
    if let Some((text, is, other)) = lone {
        checker.note(
            Mistake::at(text.span, format!("`{is}` without `{other}`"))
                .help(format!("add `{other}:` beside it, or remove `{is}:`")),
        );
    }
    let mut path = |found: Found<'_>| -> Option<PathBuf> { checker.path(found?.1) };
    TlsFiles { ca: path(ca), cert: path(cert), key: path(key) }
}

/// Files for TLS that were written nearer than, or beside, an `http` URL have no effect. Those
/// from further away belong to the URL that was overridden.
pub(super) fn refuse_files_without_https(url: Found<'_>, files: [Found<'_>; 3], checker: &mut Checker) {
    for (name, found) in ["ca", "cert", "key"].into_iter().zip(files) {
        let Some((level, text)) = found else { continue };
        let mistake = match url {
            Some((url_level, _)) if url_level < level => continue,
            Some((_, url)) => Mistake::at(text.span, format!("`{name}` has no effect on an `http` URL"))
                .related(url.span, "no TLS here"),
            None => Mistake::at(text.span, format!("`{name}` needs an `https` URL")),
        };
        checker.note(mistake.help("write `url: \"https://{address}:PORT\"`"));
    }
}
