//! Holds a lane back for as long as its broker asks (KIP-219): a broker over its quota answers at once, says how long to
//! be quiet, and reads nothing from the connection for that time. A client that kept sending would only fill buffers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use crate::client::error::Error;
use crate::client::lane::{Answer, Call};
use crate::protocol::api::Response;

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct ThrottleLayer;

/// See the [module](self).
#[derive(Debug)]
pub struct Throttle<S> {
    inner: S,
    /// Quiet until then.
    until: Arc<Mutex<Option<Instant>>>,
    quiet: Option<Pin<Box<Sleep>>>,
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = Throttle<S>;

    fn layer(&self, inner: S) -> Throttle<S> {
        Throttle { inner, until: Arc::default(), quiet: None }
    }
}

impl<S> Service<Call> for Throttle<S>
where
    S: Service<Call, Response = Answer, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if let Some(quiet) = &mut self.quiet {
                ready!(quiet.as_mut().poll(cx));
            }
            // Another answer may have asked for more in the meantime.
            self.quiet =
                self.until.lock().unwrap_or_else(PoisonError::into_inner).take().map(|it| Box::pin(sleep_until(it)));
            if self.quiet.is_none() {
                return self.inner.poll_ready(cx);
            }
        }
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let answer = self.inner.call(call);
        let until = Arc::clone(&self.until);
        async move {
            let answer = answer.await?;
            if let Answer::Response(said) = &answer
                && let Some(quiet) = throttle_time(&said.body)
            {
                let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
                *until = (*until).max(Some(Instant::now() + quiet));
            }
            Ok(answer)
        }
        .boxed()
    }
}

macro_rules! throttle_time {
    ($response:expr, $($api:ident)*) => {
        match $response {
            $( Response::$api(body) => body.throttle_time_ms, )*
            Response::SaslHandshake(_) | Response::SaslAuthenticate(_) | Response::WriteTxnMarkers(_) => 0,
        }
    };
}

/// For how long the broker wants to hear nothing; `None` if it does not say.
fn throttle_time(response: &Response) -> Option<Duration> {
    let milliseconds = throttle_time!(
        response,
        Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat
        LeaveGroup SyncGroup DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords
        InitProducerId OffsetForLeaderEpoch AddPartitionsToTxn AddOffsetsToTxn EndTxn TxnOffsetCommit
        DescribeAcls CreateAcls DeleteAcls DescribeConfigs AlterConfigs DescribeLogDirs CreatePartitions
        DeleteGroups ElectLeaders IncrementalAlterConfigs AlterPartitionReassignments ListPartitionReassignments
        OffsetDelete DescribeClientQuotas DescribeUserScramCredentials AlterUserScramCredentials DescribeCluster DescribeProducers
        DescribeTransactions ListTransactions ConsumerGroupHeartbeat ConsumerGroupDescribe ListConfigResources
        DescribeTopicPartitions ShareGroupHeartbeat ShareGroupDescribe StreamsGroupHeartbeat StreamsGroupDescribe
        DescribeShareGroupOffsets AlterShareGroupOffsets DeleteShareGroupOffsets
    );
    u64::try_from(milliseconds).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}
