//! The bucket for leases and journals.

use super::nats;
use super::raw::{RawKv, RawState};
use super::types::{Kv, Nats};
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::yaml::{Spanned, shorten};

/// The bucket that `raw` names; `None` when that can't be read, which is noted.
pub(super) fn resolve(raw: &Spanned<RawState>, checker: &mut Checker) -> Option<Kv> {
    let Some(kv) = &raw.value.kv else {
        if !raw.lost("kv") {
            let help = "write `state: {kv: {context: NAME, bucket: rollgate}}`, or leave `state` out";
            checker.note(Mistake::at(raw.span, "`state` names no bucket").help(help));
        }
        return None;
    };
    let bucket = bucket(kv, checker);
    let nats = Spanned { value: kv.value.nats(), span: kv.span, lost: kv.lost.clone() };
    let nats = nats::resolve("kv", &nats, checker)?;
    if matches!(&nats, Nats::Direct { servers, .. } if servers.is_empty()) {
        let help = "list client URLs of another cluster than those that are rolled: `servers: [\"nats://s1:4222\"]`";
        checker.note(Mistake::at(kv.span, "`kv` has no servers").help(help));
        return None;
    }
    Some(Kv { nats, bucket: bucket? })
}

fn bucket(kv: &Spanned<RawKv>, checker: &mut Checker) -> Option<String> {
    let Some(text) = &kv.value.bucket else {
        if !kv.lost("bucket") {
            checker.note(Mistake::at(kv.span, "`kv` names no bucket").help("add `bucket: rollgate`"));
        }
        return None;
    };
    if !checker.name("bucket", &text.value, text.span) {
        return None;
    }
    if text.value.contains('.') {
        let problem = format!("`{}` can't be the name of a bucket", shorten(&text.value));
        checker.note(Mistake::at(text.span, problem).help("letters, digits, `_` and `-` are allowed"));
        return None;
    }
    Some(text.value.clone())
}
