//! Three nats-servers as `waybill init --server …` configures them, with a link between each two that can be cut.

#![allow(clippy::indexing_slicing, reason = "a test whose fixture fails has failed")]

use std::{collections::BTreeMap, path::Path};

use crate::{
    error::StartError,
    link::{Link, LinkState},
    nats::NatsServer,
    port::Port,
};

/// Servers of a cluster.
pub const SERVERS: usize = 3;

/// Ports that the servers will have, before they run.
#[derive(Debug)]
pub struct Places {
    clients: Vec<Port>,
    routes: Vec<Port>,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<NatsServer>,
    /// By who connects and who is connected to.
    links: BTreeMap<(usize, usize), Link>,
    _ports: Vec<Port>,
}

impl Places {
    /// Reserves them.
    ///
    /// # Errors
    /// [`StartError`] without free ports.
    pub fn reserve() -> Result<Self, StartError> {
        let ports = || (0..SERVERS).map(|_| Port::reserve()).collect::<Result<Vec<_>, _>>();
        let setup = StartError::setup("ports of a cluster");
        let both = ports().and_then(|clients| Ok((clients, ports()?))).map_err(setup)?;
        Ok(Self { clients: both.0, routes: both.1 })
    }

    /// What `waybill init` is told.
    pub fn arguments(&self) -> Vec<String> {
        let server = |(number, (client, route)): (usize, (&Port, &Port))| {
            format!("--server=n{}={}/{}", number + 1, client.host(), route.number())
        };
        self.clients.iter().zip(&self.routes).enumerate().map(server).collect()
    }
}

impl Cluster {
    /// Starts the servers of a home folder.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(home: &Path, places: Places) -> Result<Self, StartError> {
        let mut links = BTreeMap::new();
        let mut ports = Vec::new();
        for from in 0..SERVERS {
            let file = home.join(format!("servers/n{}/nats-server.conf", from + 1));
            let mut text = std::fs::read_to_string(&file).map_err(StartError::setup("a server's configuration"))?;
            for (to, route) in places.routes.iter().enumerate().filter(|(to, _)| *to != from) {
                let port = Port::reserve().map_err(StartError::setup("a port of a link"))?;
                text = text.replace(&format!("@{}\"", route.host()), &format!("@{}\"", port.host()));
                links.insert((from, to), Link::start(port.number(), route.host()).await?);
                ports.push(port);
            }
            // Servers tell each other where they are, which would be a way around the links.
            text = text.replace("cluster {\n", "cluster {\n  advertise: \"127.0.0.1:1\"\n");
            std::fs::write(&file, text).map_err(StartError::setup("a server's configuration"))?;
        }
        let mut servers = Vec::new();
        for (number, port) in places.clients.into_iter().enumerate() {
            let folder = home.join(format!("servers/n{}", number + 1));
            servers.push(NatsServer::at(port, &folder.join("nats-server.conf"), &folder.join("data")).await?);
        }
        ports.extend(places.routes);
        Ok(Self { servers, links, _ports: ports })
    }

    /// All servers, as `WAYBILL_NATS_URL` has them.
    pub fn url(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// One of them.
    pub fn server(&mut self, number: usize) -> &mut NatsServer {
        &mut self.servers[number]
    }

    /// Sets every link from and to a server.
    pub fn set_links(&self, server: usize, state: LinkState) {
        let of_server = self.links.iter().filter(|((from, to), _)| *from == server || *to == server);
        of_server.for_each(|(_, link)| link.set(state));
    }
}
