//! The lab that all faults of a version share: a cluster of three, and two servers that are a cluster each.

use std::thread;

use crate::harness::{Lab, Options};

/// The hosts of the cluster; the last gets the faults.
pub const CLUSTER: [&str; 3] = ["h1", "h2", "h3"];
/// Servers for themselves.
pub const ALONE: [&str; 2] = ["h4", "h5"];

/// The lab, healthy, with a stream and a consumer everywhere, and all hosts remembered as they are.
pub fn up(nats: &'static str) -> Option<Lab> {
    let lab = Lab::up(Options { hosts: 5, nats, tls: true, ssh_only: true, ..Options::default() })?;
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("a file of the matrix");
    let of = |name: &str| read(super::fault::directory().join(name));
    let (ca, tools, claims) = (read(lab.path.join("ca.key")), of("host.sh"), of("jwt.sh"));
    thread::scope(|scope| {
        for host in CLUSTER.iter().chain(&ALONE) {
            let (lab, ca, tools, claims) = (&lab, &ca, &tools, &claims);
            let conf = of(if CLUSTER.contains(host) { "clustered.conf" } else { "alone.conf" });
            let conf = conf.replace("HOST", host).replace("ADDRESS", &Lab::address(host));
            scope.spawn(move || {
                lab.put(host, "/usr/local/lib/matrix.sh", tools);
                lab.put(host, "/usr/local/lib/matrix-jwt.sh", claims);
                lab.put(host, "/etc/nats/tls/ca.key", ca);
                lab.put(host, "/etc/nats/nats-server.conf", &conf);
                on_host(lab, host, "stop_nats; rm -rf $STORE/*; make_tls; systemctl start nats-server");
            });
        }
    });
    lab.all_healthy();
    thread::scope(|scope| {
        for (host, replicas) in [("h3", 3), ("h4", 1), ("h5", 1)] {
            let lab = &lab;
            scope.spawn(move || on_host(lab, host, &format!("within 60 seed {replicas} && keep")));
        }
    });
    Some(lab)
}

/// An inventory with a cluster of three and two of one.
pub fn inventory(lab: &Lab) -> String {
    lab.inventory_with(|text| {
        let (head, _) = text.split_once("clusters:").expect("clusters");
        format!(
            "{head}clusters:\n  lab:\n    hosts: [h1, h2, h3]\n  alone4:\n    hosts: [h4]\n  alone5:\n    hosts: [h5]\n"
        )
    })
}

/// A script with the tools of `host.sh`, which must succeed; what it printed.
pub fn on_host(lab: &Lab, host: &str, script: &str) -> String {
    lab.root(host, &format!(". /usr/local/lib/matrix.sh\n{script}"))
}
