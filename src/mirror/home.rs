//! Where the bucket is, and whether that is the very cluster that is rolled.

use async_nats::{ServerInfo, jetstream::stream::ClusterInfo};

use crate::core::view::View;

/// What can be told of where the bucket is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Home {
    /// The server that the connection leads to.
    server_id: String,
    server_name: String,
    /// Its cluster.
    near: Option<String>,
    /// The cluster that has the bucket's stream.
    far: Option<String>,
}

impl Home {
    pub(super) fn of(info: &ServerInfo, stream: Option<&ClusterInfo>) -> Self {
        let named = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
        let far = stream.and_then(|cluster| named(cluster.name.as_ref()));
        Self {
            server_id: info.server_id.clone(),
            server_name: info.server_name.clone(),
            near: named(info.cluster.as_ref()),
            far,
        }
    }

    /// Why the bucket is taken to be on the cluster of `view`, if so.
    ///
    /// Two clusters can have one name, so ids decide wherever the connection leads into the bucket's own cluster; through a
    /// gateway or a leaf node the names are all there is, and within one super-cluster they differ.
    pub(super) fn is_in(&self, view: &View) -> Option<String> {
        let seen = |server: &crate::core::view::ServerView| server.varz.as_ref().ok().cloned();
        let rolled = view.servers.iter().find_map(|server| seen(server)?.cluster);
        let direct = self.far.is_none() || self.far == self.near;
        if !direct {
            let name = self.far.as_ref().filter(|far| rolled.as_ref() == Some(*far))?;
            return Some(format!("is on cluster {name}, which is the one to be rolled: it would go away with it"));
        }
        let is_here = view.servers.iter().any(|server| match seen(server) {
            Some(varz) => varz.server_id == self.server_id,
            None => server.server_name == self.server_name,
        });
        let name = &self.server_name;
        is_here.then(|| format!("is on server {name}, which is of the cluster to be rolled: it would go away with it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        testing::cluster,
        view::{Failure, FailureKind},
    };

    fn home(server: (&str, &str), near: &str, far: &str) -> Home {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Home { server_id: server.0.into(), server_name: server.1.into(), near: named(near), far: named(far) }
    }

    #[test]
    fn the_cluster_that_is_rolled_is_known() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let (id, name) = view.servers[0].varz.as_ref().map(|v| (v.server_id.clone(), v.cluster.clone())).unwrap();
        let name = name.unwrap();
        view.servers[2].varz = Err(Failure::new(FailureKind::Timeout, "no answer"));
        let check = |home: &Home, expected: bool| assert_eq!(home.is_in(&view).is_some(), expected, "{home:?}");
        check(&home((&id, "n1"), &name, &name), true);
        check(&home((&id, "n1"), &name, ""), true);
        // Another one of the same name.
        check(&home(("NOTHER", "n1"), &name, &name), false);
        check(&home(("NOTHER", "s1"), "", ""), false);
        // Which server n3 is can't be told.
        check(&home(("NOTHER", "n3"), &name, &name), true);
        // By way of another cluster.
        check(&home(("NOTHER", "e1"), "edge", &name), true);
        check(&home((&id, "n1"), &name, "state"), false);
    }
}
