//! The lanes to the brokers of a cluster, opened on demand and shared by all who hold the same [`Lanes`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Terms};
use super::error::{BrokerAt, Error, ErrorKind};
use super::lane::{BrokerLane, Lane, Route};
use super::layer::observe::Counters;
use super::layer::reconnect::{Backoff, Connect};
use super::metadata::{Broker, Metadata};
use super::sasl::Sasl;
use crate::net::{Address, Attempt, Dial};
use crate::protocol::types::BrokerId;

/// Makes connections, and lanes of them.
#[derive(Clone)]
pub struct Dialer {
    pub dial: Dial,
    pub sasl: Option<Arc<Sasl>>,
    pub client_id: Arc<str>,
    /// For dialling, handshake and the proof of who we are together.
    pub limit: Duration,
    /// A connection that is not used for so long is closed.
    pub idle_max: Duration,
    pub backoff: Backoff,
    pub counters: Arc<Counters>,
    /// Ends every connection, and lets no other begin.
    pub closed: CancellationToken,
}

impl Dialer {
    /// A lane that connects when it is first called.
    pub fn lane(&self, broker: BrokerAt, address: Address, lane: Lane) -> BrokerLane {
        let dialer = self.clone();
        let connect: Connect = Arc::new(move || {
            let (dialer, address) = (dialer.clone(), address.clone());
            async move { dialer.connect(address, lane).await }.boxed()
        });
        let counters = Arc::clone(&self.counters);
        BrokerLane::new(lane, Route { broker, connect, backoff: self.backoff, counters })
    }

    fn terms(&self, lane: Lane) -> Terms {
        Terms {
            client_id: Arc::clone(&self.client_id),
            in_flight_max: lane.in_flight_max(),
            idle_max: self.idle_max,
            counters: Arc::clone(&self.counters),
            closed: self.closed.clone(),
            sasl: self.sasl.clone(),
        }
    }

    /// One connection, or every address that was tried and what became of it.
    async fn connect(&self, address: Address, lane: Lane) -> Result<Connection, Error> {
        let connecting = async {
            let io =
                (self.dial)(address.clone()).await.map_err(|tried| Error::new(ErrorKind::Connect(tried.into())))?;
            Connection::open(io, self.terms(lane)).await
        };
        let made = tokio::select! {
            biased;
            () = self.closed.cancelled() => return Err(Error::closed()),
            made = timeout(self.limit, connecting) => made,
        };
        match made {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(told(error, address)),
            Err(_) => Err(refused(Attempt::new(address, format!("no answer within {:?}", self.limit)))),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A failure after the dial, with the address that it was at.
fn told(error: Error, address: Address) -> Error {
    match &error.kind {
        ErrorKind::Connect(_) | ErrorKind::Closed | ErrorKind::Authentication(_) => error,
        ErrorKind::Tls(fault) => refused(Attempt::insecure(address, fault.clone())),
        _ => refused(Attempt::new(address, error)),
    }
}

fn refused(attempt: Attempt) -> Error {
    Error::new(ErrorKind::Connect([attempt].into()))
}

/// One lane for each broker and kind of use.
#[derive(Debug)]
pub struct Lanes {
    dialer: Dialer,
    open: Mutex<HashMap<(BrokerId, Lane), BrokerLane>>,
}

impl Lanes {
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, open: Mutex::default() }
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The lane to a broker, made if there is none, or if the broker has moved. Lanes to brokers that the cluster no
    /// longer lists are let go at that occasion.
    pub fn lane(&self, broker: &Broker, lane: Lane, metadata: &Metadata) -> BrokerLane {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(&(broker.id, lane)).filter(|it| it.broker.address.as_ref() == Some(&broker.address));
        if let Some(known) = known {
            return known.clone();
        }
        open.retain(|(id, _), _| metadata.broker(*id).is_some());
        let at = BrokerAt { id: Some(broker.id), address: Some(broker.address.clone()) };
        let made = self.dialer.lane(at, broker.address.clone(), lane);
        open.insert((broker.id, lane), made.clone());
        made
    }

    /// How likely a broker is to answer, lower is likelier: connected, never tried, last seen failing.
    pub fn doubt(&self, broker: BrokerId) -> u8 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get(&(broker, Lane::General)).map(|lane| &lane.status) {
            Some(status) if status.failed.load().is_some() => 2,
            Some(status) if status.capabilities.load().is_some() => 0,
            _ => 1,
        }
    }
}
