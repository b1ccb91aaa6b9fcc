//! The certificate of a server, and the authority that signed it. openssl does the work, as for the token server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::servers::{PASSWORD, USER};

#[derive(Debug)]
pub(super) struct Certificate {
    authority: PathBuf,
    certificate: PathBuf,
    private: PathBuf,
}

impl Certificate {
    /// Makes both, for the names that servers on loopback have.
    pub(super) fn create(sh: &Shell, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let path = |name: &str| directory.join(name);
        let (authority, authority_key) = (path("ca.crt"), path("ca.key"));
        let (certificate, private, request) = (path("server.crt"), path("server.key"), path("server.csr"));
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
        let run = |command: xshell::Cmd<'_>| {
            let made = command.quiet().ignore_stdout().ignore_stderr().run();
            made.context("openssl cannot make a certificate")
        };
        run(cmd!(
            sh,
            "openssl req -x509 {key...} -days 30 -subj /CN=layercache-test-ca
             -keyout {authority_key} -out {authority}"
        ))?;
        run(cmd!(
            sh,
            "openssl req {key...} -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost
             -addext basicConstraints=CA:FALSE -keyout {private} -out {request}"
        ))?;
        run(cmd!(
            sh,
            "openssl x509 -req -in {request} -CA {authority} -CAkey {authority_key} -CAcreateserial
             -copy_extensions copy -days 30 -out {certificate}"
        ))?;
        Ok(Self {
            authority,
            certificate,
            private,
        })
    }

    /// The certificate of the authority (PEM).
    pub(super) fn authority(&self) -> &Path {
        &self.authority
    }

    /// What a Redis is to be told that uses the certificate, and lets in nobody but the one user.
    pub(super) fn configuration(&self) -> String {
        let (certificate, private) = (self.certificate.display(), self.private.display());
        let authority = self.authority.display();
        format!(
            "tls-cert-file \"{certificate}\"\ntls-key-file \"{private}\"\ntls-ca-cert-file \"{authority}\"\n\
             tls-auth-clients no\n\
             user default off\nuser {USER} on \">{PASSWORD}\" ~* &* +@all\n"
        )
    }
}
