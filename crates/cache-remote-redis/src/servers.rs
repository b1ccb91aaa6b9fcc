//! Which servers are meant, and how to connect to them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult,
    TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::RedisConfig;
use crate::config::redacted;

/// Requests under way at once on one connection to one server. More wait their turn: it bounds what is in memory for a
/// server that is slow, and their time-outs run.
const CONCURRENCY: usize = 32;
/// How many times a request to a cluster is sent anew: to where its key was moved, to a node that has come back.
const CLUSTER_RETRIES: u32 = 3;

/// What connections are made to.
pub(crate) struct Servers {
    config: RedisConfig,
    /// Those of the last connection. A std mutex: held to clone or to replace the pointer.
    clients: Mutex<Arc<Clients>>,
}

/// What is made of URLs.
struct Clients {
    urls: Vec<String>,
    /// The only server, or one that is asked for the reason when the cluster cannot be reached: the crate tells that in prose alone.
    first: Client,
    cluster: Option<ClusterClient>,
}

/// A connection, to be cloned for each request.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Where a node of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Servers {
    /// Checks the configuration; connects to nothing.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            clients: Mutex::new(Arc::new(Clients::new(config.urls.clone(), config)?)),
        })
    }

    pub(crate) fn are_cluster(&self) -> bool {
        self.last_clients().cluster.is_some()
    }

    /// Makes a connection. The caller bounds the time.
    pub(crate) async fn connect(&self) -> RedisResult<Connection> {
        let clients = self.clients().await.map_err(|error| {
            let kind = redis::ErrorKind::InvalidClientConfig;
            RedisError::from((
                kind,
                "no connection for the URLs as they are now",
                error.message().to_owned(),
            ))
        })?;
        let Some(cluster) = &clients.cluster else {
            return connect_to(&clients.first).await.map(Connection::One);
        };
        match cluster.get_async_connection().await {
            Ok(connection) => Ok(Connection::Cluster(connection)),
            Err(error) => Err(connect_to(&clients.first).await.err().unwrap_or(error)),
        }
    }

    fn last_clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The clients for the URLs as they are now.
    async fn clients(&self) -> Result<Arc<Clients>> {
        let last = self.last_clients();
        let Some(current) = &self.config.current_urls else {
            return Ok(last);
        };
        let urls = current.urls().await?;
        if urls == last.urls {
            return Ok(last);
        }
        let clients = Arc::new(Clients::new(urls, &self.config)?);
        if clients.cluster.is_some() != last.cluster.is_some() {
            return Err(Error::permanent(
                "one server became a cluster, or a cluster one server: start anew",
            ));
        }
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&clients);
        Ok(clients)
    }
}

impl Clients {
    fn new(urls: Vec<String>, config: &RedisConfig) -> Result<Self> {
        let (first, more) = urls
            .split_first()
            .ok_or_else(|| Error::permanent("no URL of a Redis is configured"))?;
        let tls = urls.iter().any(|url| url.starts_with("rediss://"));
        let certificates = config.ca_certificate.as_ref().filter(|_| tls);
        let certificates = certificates.map(|pem| certificates_of(pem)).transpose()?;
        let first = client(first, certificates.clone())?;
        if more.is_empty() {
            return Ok(Self {
                urls,
                first,
                cluster: None,
            });
        }
        let nodes = urls.iter().map(|url| connection_info(url));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(config.timeout)
            .response_timeout(config.timeout)
            .retries(CLUSTER_RETRIES)
            .connection_concurrency_limit(CONCURRENCY);
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        // Its messages name what differs between the URLs, and not the values.
        let cluster = builder
            .build()
            .map_err(|error| Error::permanent(format!("the URLs make no cluster: {error}")))?;
        Ok(Self {
            urls,
            first,
            cluster: Some(cluster),
        })
    }
}

async fn connect_to(client: &Client) -> RedisResult<MultiplexedConnection> {
    // The caller's time-out is for connecting and for the answer together.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_concurrency_limit(CONCURRENCY);
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn connection_info(url: &str) -> Result<redis::ConnectionInfo> {
    let refused = |why: &str| Error::permanent(format!("{}: {why}", redacted(url)));
    if !url.starts_with("redis://") && !url.starts_with("rediss://") {
        return Err(refused("a URL starts with redis:// or rediss://"));
    }
    if url.ends_with("#insecure") {
        return Err(refused(
            "certificates are always checked: configure the one of the authority",
        ));
    }
    // The cause is not kept: it is not known to leave out what it was given.
    url.into_connection_info()
        .map_err(|_| refused("not redis[s]://[user:password@]host[:port][/database], percent-encoded"))
}

fn client(url: &str, certificates: Option<TlsCertificates>) -> Result<Client> {
    let info = connection_info(url)?;
    let client = match certificates {
        Some(certificates) if url.starts_with("rediss://") => Client::build_with_tls(info, certificates),
        _ => Client::open(info),
    };
    client.map_err(|error| Error::permanent(format!("{}: {error}", redacted(url))))
}

fn certificates_of(pem: &[u8]) -> Result<TlsCertificates> {
    let parsed = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    if parsed.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(TlsCertificates {
            client_tls: None,
            root_cert: Some(pem.to_vec()),
        });
    }
    Err(Error::permanent(
        "the CA certificate is not PEM with at least one certificate",
    ))
}

impl Connection {
    /// Sends a request, in a cluster to the node that has its keys, or to `node`. Its answer belongs to it even if it comes when
    /// nobody waits for it any more: the crate drops it then.
    pub(crate) async fn send<T: FromRedisValue>(
        &mut self,
        request: &Cmd,
        node: Option<&Address>,
    ) -> RedisResult<T> {
        match (self, node) {
            (Self::One(connection), _) => request.query_async(connection).await,
            (Self::Cluster(connection), None) => request.query_async(connection).await,
            (Self::Cluster(connection), Some(node)) => {
                let node = SingleNodeRoutingInfo::ByAddress {
                    host: node.host.clone(),
                    port: node.port,
                };
                let answer = connection.route_command(request.clone(), RoutingInfo::SingleNode(node));
                Ok(T::from_redis_value(answer.await?.extract_error()?)?)
            }
        }
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clients know the credentials.
        f.write_str(if self.are_cluster() {
            "Servers(cluster)"
        } else {
            "Servers(one)"
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What the application says the URLs are.
    #[derive(Debug)]
    struct Told(Mutex<Vec<&'static str>>);

    #[async_trait::async_trait]
    impl crate::ServerUrls for Told {
        async fn urls(&self) -> Result<Vec<String>> {
            Ok(self.0.lock().unwrap().iter().map(|&url| url.into()).collect())
        }
    }

    #[tokio::test]
    async fn clients_are_made_anew_when_the_urls_have_changed() {
        let first = "redis://:first@127.0.0.1:1";
        let told = Arc::new(Told(Mutex::new(vec![first])));
        let urls: Arc<dyn crate::ServerUrls> = told.clone();
        let servers = Servers::new(&RedisConfig::new([first]).with_current_urls(urls)).unwrap();
        let before = servers.clients().await.unwrap();
        assert!(Arc::ptr_eq(&before, &servers.clients().await.unwrap()));

        *told.0.lock().unwrap() = vec!["redis://:second@127.0.0.1:1"];
        let after = servers.clients().await.unwrap();
        assert!(!Arc::ptr_eq(&before, &after));
        assert_eq!(
            after.first.get_connection_info().redis_settings().password(),
            Some("second")
        );

        // What cannot be used leaves what was there, and its error shows no password.
        for wrong in [
            vec![],
            vec!["http://hunter2@127.0.0.1"],
            vec!["redis://:hunter2@127.0.0.1:1", "redis://:hunter2@127.0.0.1:2"],
        ] {
            *told.0.lock().unwrap() = wrong;
            let error = servers.connect().await.err().unwrap();
            let error = crate::failure::failure(error);
            assert_eq!(error.kind(), cache_core::ErrorKind::Permanent, "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(Arc::ptr_eq(&after, &servers.last_clients()));
    }
}
