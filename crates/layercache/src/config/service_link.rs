//! What Kubernetes says in the environment of every pod of the services in its namespace.
//!
//! ```text
//! <SERVICE>_SERVICE_HOST
//! <SERVICE>_SERVICE_PORT, <SERVICE>_SERVICE_PORT_<PORT'S NAME>
//! <SERVICE>_PORT
//! <SERVICE>_PORT_<NUMBER>_<PROTOCOL>, followed by nothing, _PROTO, _PORT or _ADDR
//! ```

/// Whether a variable of this name tells where a service is. Those of a service `layercache` or `layercache-…` begin as ours do.
pub(super) fn is_service_link(name: &str) -> bool {
    let of_a_port = |rest: &str| {
        let Some((number, rest)) = rest.split_once('_') else {
            return false;
        };
        let (protocol, part) = rest.split_once('_').unwrap_or((rest, ""));
        number.parse::<u16>().is_ok()
            && ["TCP", "UDP", "SCTP"].contains(&protocol)
            && ["", "PROTO", "PORT", "ADDR"].contains(&part)
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name
            .rsplit_once("_PORT_")
            .is_some_and(|(_, rest)| of_a_port(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_a_service_is_known_by_its_name() {
        for (name, is) in [
            ("LAYERCACHE_SERVICE_HOST", true),
            ("LAYERCACHE_SERVICE_PORT", true),
            ("LAYERCACHE_SERVICE_PORT_METRICS", true),
            ("LAYERCACHE_PORT", true),
            ("LAYERCACHE_PORT_80_TCP", true),
            ("LAYERCACHE_PORT_53_UDP_PROTO", true),
            ("LAYERCACHE_PORT_80_SCTP_PORT", true),
            ("LAYERCACHE_PORT_80_TCP_ADDR", true),
            ("LAYERCACHE_REDIS_PORT_6379_TCP_ADDR", true),
            ("LAYERCACHE_PORT_A_PORT_80_TCP", true),
            ("LAYERCACHE_PORTS", false),
            ("LAYERCACHE_HOST", false),
            ("LAYERCACHE_PORT_80", false),
            ("LAYERCACHE_PORT_HTTP_TCP", false),
            ("LAYERCACHE_PORT_80_HTTP", false),
            ("LAYERCACHE_PORT_80_TCP_KEY", false),
            ("LAYERCACHE_PORT_80000_TCP", false),
        ] {
            assert_eq!(is_service_link(name), is, "{name}");
        }
    }
}
