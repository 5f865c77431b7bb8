//! An operator, its accounts and their users, as `nsc` would make them: for clusters in operator mode.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// A user's name, its public key, and its credentials file.
pub struct User {
    pub name: &'static str,
    pub creds: String,
}

/// An operator with the accounts SYS, APP and OTHER, and a user in each.
pub struct Operator {
    /// What the servers' configuration says in place of `accounts`.
    pub config: String,
    /// `sys`, `app` and `other`.
    pub users: Vec<User>,
}

impl Operator {
    /// Makes new keys.
    pub fn new() -> Self {
        let operator = KeyPair::new_operator();
        let mut preload = String::new();
        let mut users = Vec::new();
        let mut system = String::new();
        for (account, user, jetstream) in [("SYS", "sys", 0), ("APP", "app", -1), ("OTHER", "other", -1)] {
            let keys = KeyPair::new_account();
            if account == "SYS" {
                system = keys.public_key();
            }
            let limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
                "mem_storage": jetstream, "disk_storage": jetstream, "streams": jetstream, "consumer": jetstream,
            });
            let nats = json!({ "type": "account", "version": 2, "limits": limits, "default_permissions": {} });
            let token = jwt(&operator, &keys.public_key(), account, &nats);
            preload.push_str(&format!("  {}: {token}\n", keys.public_key()));
            users.push(User { name: user, creds: creds(&keys, user) });
        }
        let nats = json!({ "type": "operator", "version": 2, "system_account": system });
        let token = jwt(&operator, &operator.public_key(), "LAB", &nats);
        let config = format!(
            "operator: {token}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{preload}}}\n"
        );
        Self { config, users }
    }

    /// The credentials of a user.
    pub fn creds(&self, name: &str) -> &str {
        &self.users.iter().find(|user| user.name == name).expect("a user of the operator").creds
    }
}

/// The text of a credentials file for a new user of an account.
fn creds(account: &KeyPair, name: &str) -> String {
    let user = KeyPair::new_user();
    let nats = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let token = jwt(account, &user.public_key(), name, &nats);
    let seed = user.seed().expect("a seed");
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// A claim of version 2 (nats-io/jwt, `claims.go`). Servers do not look at its id.
fn jwt(issuer: &KeyPair, subject: &str, name: &str, nats: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let iat = jiff::Timestamp::now().as_second();
    let claims =
        json!({ "jti": name, "iat": iat, "iss": issuer.public_key(), "name": name, "sub": subject, "nats": nats });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
