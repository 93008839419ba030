//! The room as a whole, over brokers in memory.

mod cancel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::fake::*;
use super::lane::{Ask, BrokerLane};
use super::*;
use crate::devbroker::DevBroker;
use crate::protocol::api::Request;
use crate::protocol::messages::*;

const SECOND: Duration = Duration::from_secs(1);

/// A client of a dev broker that does not wait long before it tries again.
pub(super) fn quick_to_reconnect(broker: &DevBroker) -> ClientConfig {
    ClientConfig {
        bootstrap_servers: vec![broker.bootstrap_servers()],
        reconnect_backoff: Duration::from_millis(1),
        reconnect_backoff_max: Duration::from_millis(5),
        ..Default::default()
    }
}

type Outcome = Result<(), Error>;

fn dialer(net: &Arc<Net>) -> broker::Dialer {
    broker::Dialer {
        dial: net.dial(),
        client_id: "test".into(),
        limit: 10 * SECOND,
        idle_max: 540 * SECOND,
        backoff: Backoff { first: Duration::from_millis(50), most: SECOND, seed: None },
        counters: Arc::default(),
        closed: tokio_util::sync::CancellationToken::new(),
        sasl: None,
    }
}

fn to(dialer: &broker::Dialer, port: u16, lane: Lane) -> BrokerLane {
    dialer.lane(error::BrokerAt { id: Some(i32::from(port)), address: Some(at(port)) }, at(port), lane)
}

fn lane(net: &Arc<Net>, port: u16, lane: Lane) -> BrokerLane {
    to(&dialer(net), port, lane)
}

fn heartbeat(generation_id: i32) -> Ask {
    let group_id = "g".into();
    Ask::Request(Box::new(HeartbeatRequest { group_id, generation_id, ..Default::default() }.into()))
}

async fn beat(lane: &BrokerLane, n: i32, deadline: Duration) -> Result<i32, Error> {
    Ok(lane.call::<HeartbeatRequest>(heartbeat(n), deadline).await?.body.throttle_time_ms)
}

/// Answers a heartbeat with its generation, as the error code: what a lane brings back is not its business.
fn echo(request: &Request) -> Option<Reply> {
    match request {
        Request::Heartbeat(it) => {
            let error_code = i16::try_from(it.generation_id).unwrap_or(-1);
            Some(Reply::Say(HeartbeatResponse { error_code, ..Default::default() }.into()))
        }
        _ => None,
    }
}

async fn echoed(lane: &BrokerLane, n: i32) -> Result<i16, Error> {
    Ok(lane.call::<HeartbeatRequest>(heartbeat(n), 10 * SECOND).await?.body.error_code)
}

mod lanes {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_find_their_callers_over_one_connection() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, echo);
        let lane = lane(&net, 1, Lane::General);
        let said = join_all((0..100).map(|n| echoed(&lane, n))).await;
        assert_eq!(said.into_iter().collect::<Result<Vec<_>, _>>()?, (0..100).collect::<Vec<_>>());
        assert_eq!(net.dials(1), 1);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn requests_reach_the_wire_in_the_order_of_their_calls() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (net, sees) = (Arc::new(Net::default()), Arc::clone(&seen));
        net.listen(1, move |request| {
            if let Request::Heartbeat(it) = request {
                sees.lock().unwrap().push(it.generation_id);
            }
            echo(request)
        });
        let lane = lane(&net, 1, Lane::Produce);
        join_all((0..50).map(|n| echoed(&lane, n))).await;
        assert_eq!(*seen.lock().unwrap(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_leaves_the_connection_whole() -> Outcome {
        // One byte at a time: the frame is half-written when its caller goes.
        let net = Arc::new(Net::narrow(1));
        net.listen(1, echo);
        let lane = lane(&net, 1, Lane::General);
        echoed(&lane, 1).await?;
        for polls in 1..40 {
            let mut dropped = Box::pin(echoed(&lane, 2));
            for _ in 0..polls {
                if futures::poll!(&mut dropped).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(echoed(&lane, 3).await?, 3);
        assert_eq!(net.dials(1), 1);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_outlives_its_deadline_ends_the_connection_for_all() -> Outcome {
        let net = Arc::new(Net::default());
        let silent = Arc::new(AtomicBool::new(true));
        let silence = Arc::clone(&silent);
        net.listen(1, move |request| match request {
            Request::Heartbeat(_) if silence.load(Ordering::SeqCst) => Some(Reply::Nothing),
            _ => echo(request),
        });
        let lane = lane(&net, 1, Lane::General);
        let begun = Instant::now();
        let (late, behind) = tokio::join!(beat(&lane, 1, 2 * SECOND), beat(&lane, 2, 60 * SECOND));
        assert_eq!(begun.elapsed(), 2 * SECOND);
        let late = late.unwrap_err();
        assert!(late.is_timeout() && late.is_retriable());
        assert_eq!(late.to_string(), "Heartbeat to broker 1 (broker:1): no answer within 2s");
        let behind = behind.unwrap_err().to_string();
        assert_eq!(behind, "Heartbeat to broker 1 (broker:1): connection lost: Heartbeat had no answer within 2s");
        silent.store(false, Ordering::SeqCst);
        assert_eq!(echoed(&lane, 3).await?, 3);
        assert_eq!(net.dials(1), 2);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_reads_nothing_holds_nobody_past_the_deadline() {
        let net = Arc::new(Net::narrow(64));
        net.listen(1, |request| match request {
            Request::Heartbeat(_) => Some(Reply::SayAfter(3600 * SECOND, HeartbeatResponse::default().into())),
            _ => None,
        });
        let lane = lane(&net, 1, Lane::General);
        let begun = Instant::now();
        let all = join_all((0..200).map(|n| beat(&lane, n, SECOND))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(begun.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn impatient_callers_do_not_put_more_on_the_wire() {
        let net = Arc::new(Net::default());
        net.listen(1, |request| matches!(request, Request::Heartbeat(_)).then_some(Reply::Nothing));
        let lane = lane(&net, 1, Lane::Produce);
        for n in 0..30 {
            let call = Box::pin(beat(&lane, n, 3600 * SECOND));
            let _ = tokio::time::timeout(Duration::from_millis(5), call).await;
        }
        assert_eq!(net.asked(Some(1), "Heartbeat"), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_not_there_is_said_at_once_and_tried_no_more_often_than_the_back_off_allows() {
        let net = Arc::new(Net::default());
        let lane = lane(&net, 1, Lane::General);
        let begun = Instant::now();
        let error = echoed(&lane, 1).await.unwrap_err();
        assert_eq!(error.to_string(), "Heartbeat to broker 1 (broker:1): cannot connect: broker:1: refused");
        assert!(error.is_retriable());
        for _ in 0..1000 {
            assert!(echoed(&lane, 1).await.is_err());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(begun.elapsed(), 10 * SECOND);
        // 50 ms doubled to a second, each a fifth more or less.
        assert!((8..=24).contains(&net.dials(1)), "{} dials in 10 s", net.dials(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_lost_while_idle_is_made_anew_without_an_error() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, echo);
        let lane = lane(&net, 1, Lane::General);
        echoed(&lane, 1).await?;
        tokio::time::advance(600 * SECOND).await;
        net.kill(1);
        net.listen(1, echo);
        tokio::time::sleep(SECOND).await;
        assert_eq!(echoed(&lane, 2).await?, 2);
        assert_eq!(net.dials(1), 2);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_uses_is_closed_and_made_anew_without_an_error() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, echo);
        let dialer = dialer(&net);
        let counters = Arc::clone(&dialer.counters);
        let lane = to(&dialer, 1, Lane::General);
        for (idle, dials) in [(Duration::ZERO, 1), (539 * SECOND, 1), (541 * SECOND, 2)] {
            tokio::time::advance(idle).await;
            assert_eq!(echoed(&lane, 7).await?, 7);
            assert_eq!(net.dials(1), dials, "idle for {idle:?}");
        }
        tokio::time::sleep(541 * SECOND).await;
        let Traffic { opened, closed, sent_bytes, received_bytes } = counters.traffic();
        assert_eq!((opened, closed), (2, 2));
        assert!(sent_bytes > 0 && received_bytes > 0);
        let stats = counters.stats();
        assert!(stats.iter().all(|it| it.sent_bytes > 0 && it.received_bytes > 0), "{stats:?}");
        let requests: Vec<_> = stats.iter().map(|it| (it.api, it.requests())).collect();
        assert_eq!(requests, [("ApiVersions", 0), ("Heartbeat", 3)], "that of a handshake is nobody's call");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_is_no_idleness() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, |request| match request {
            Request::Heartbeat(_) => Some(Reply::SayAfter(3600 * SECOND, HeartbeatResponse::default().into())),
            _ => None,
        });
        beat(&lane(&net, 1, Lane::Fetch), 1, 3601 * SECOND).await?;
        assert_eq!(net.dials(1), 1);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_made_though_whoever_called_for_it_has_gone() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, echo);
        let near = net.dial();
        let far: Dial = Arc::new(move |address| {
            let near = Arc::clone(&near);
            Box::pin(async move {
                tokio::time::sleep(2 * SECOND).await;
                near(address).await
            })
        });
        let lane = to(&broker::Dialer { dial: far, ..dialer(&net) }, 1, Lane::General);
        assert!(beat(&lane, 1, SECOND).await.is_err());
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(beat(&lane, 2, SECOND).await?, 0);
        assert_eq!(net.dials(1), 1);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_do_not_last_are_backed_off() {
        let net = Arc::new(Net::default());
        net.listen(1, |request| matches!(request, Request::Heartbeat(_)).then_some(Reply::HangUp));
        let lane = lane(&net, 1, Lane::General);
        for _ in 0..1000 {
            assert!(echoed(&lane, 1).await.unwrap_err().is_transport());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(net.dials(1) <= 26, "{} dials in 10 s", net.dials(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_is_quiet_for_as_long_as_its_broker_asks() -> Outcome {
        let net = Arc::new(Net::default());
        let first = AtomicBool::new(true);
        net.listen(1, move |request| match request {
            Request::Heartbeat(_) => {
                let throttle_time_ms = if first.swap(false, Ordering::SeqCst) { 5000 } else { 0 };
                Some(Reply::Say(HeartbeatResponse { throttle_time_ms, ..Default::default() }.into()))
            }
            _ => None,
        });
        let lane = lane(&net, 1, Lane::General);
        let begun = Instant::now();
        assert_eq!(beat(&lane, 1, SECOND).await?, 5000);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        beat(&lane, 2, 10 * SECOND).await?;
        assert_eq!(begun.elapsed(), 5 * SECOND);
        beat(&lane, 3, 10 * SECOND).await?;
        assert_eq!(begun.elapsed(), 5 * SECOND);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_broker_is_asked_again_in_the_version_it_names() -> Outcome {
        let net = Arc::new(Net::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let asks = Arc::clone(&asked);
        net.listen(1, move |request| match request {
            Request::ApiVersions(_) => {
                let known = |api_key, max_version| ApiVersion { api_key, min_version: 0, max_version };
                let api_keys = vec![known(18, 2), known(12, 1), known(9, 9)];
                let answer = ApiVersionsResponse { api_keys, ..Default::default() };
                Some(match asks.fetch_add(1, Ordering::SeqCst) {
                    0 => Reply::SayIn(0, ApiVersionsResponse { error_code: 35, ..answer }.into()),
                    _ => Reply::Say(answer.into()),
                })
            }
            _ => echo(request),
        });
        let lane = lane(&net, 1, Lane::General);
        assert_eq!(echoed(&lane, 7).await?, 7);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let known = lane.capabilities(SECOND).await?;
        assert_eq!(known.version::<HeartbeatRequest>(), Some(1));
        assert_eq!(known.version::<ProduceRequest>(), None);
        let unsupported =
            lane.call::<JoinGroupRequest>(Ask::InVersion(11, Box::new(|_| JoinGroupRequest::default().into())), SECOND);
        assert!(matches!(unsupported.await.unwrap_err().kind, ErrorKind::Unsupported));
        Ok(())
    }
}

mod clusters {
    use super::*;

    fn knows(ports: &'static [u16]) -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
        move |request| match request {
            Request::Metadata(_) => {
                Some(Reply::Say(cluster(ports, vec![topic("t", &[(i32::from(ports[0]), 1)])]).into()))
            }
            _ => echo(request),
        }
    }

    async fn connected(net: &Arc<Net>, ports: &[u16]) -> Result<Client, Error> {
        Client::connect_over(config(ports), net.dial()).await
    }

    async fn any_beat(client: &Client) -> Result<i16, Error> {
        let answer = client.cluster().call(To::Any, Lane::General, HeartbeatRequest::default(), SECOND).await?;
        Ok(answer.body.error_code)
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_there_is_one_clear_line() {
        let net = Arc::new(Net::default());
        let error = connected(&net, &[1, 2]).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect: broker:"), "{error}");
        assert!(error.contains("broker:1: refused") && error.contains("broker:2: refused"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_is_over_within_the_connect_timeout() {
        let net = Arc::new(Net::default());
        net.listen(1, |_| Some(Reply::Nothing));
        let begun = Instant::now();
        let error = connected(&net, &[1]).await.unwrap_err().to_string();
        assert_eq!((begun.elapsed(), error.as_str()), (10 * SECOND, "cannot connect: broker:1: no answer within 10s"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_bootstrap_server_does_not_hold_up_the_others() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, |_| Some(Reply::Nothing));
        net.listen(2, knows(&[2]));
        let begun = Instant::now();
        connected(&net, &[1, 2]).await?;
        assert!(begun.elapsed() <= Duration::from_millis(250));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_meanwhile_share_the_next_request() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, |request| match request {
            Request::Metadata(_) => Some(Reply::SayAfter(SECOND, cluster(&[1], vec![]).into())),
            _ => echo(request),
        });
        let client = connected(&net, &[1]).await?;
        assert_eq!(net.asked(None, "Metadata"), 1);
        let begun = Instant::now();
        let all = join_all((0..50).map(|_| client.cluster().refresh(Topics::Followed))).await;
        assert!(all.iter().all(Result::is_ok));
        // The first goes at once; whoever asks while it is under way wants to know what is true after that.
        assert_eq!((net.asked(None, "Metadata"), begun.elapsed()), (3, 2 * SECOND));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_learned_anew_every_so_often_and_when_asked() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, knows(&[1]));
        let client = connected(&net, &[1]).await?;
        tokio::time::sleep(301 * SECOND).await;
        assert_eq!(net.asked(None, "Metadata"), 2);
        for _ in 0..100 {
            client.cluster().request_metadata();
        }
        tokio::time::sleep(SECOND).await;
        assert!((3..=4).contains(&net.asked(None, "Metadata")));
        drop(client);
        tokio::time::sleep(3600 * SECOND).await;
        assert!(net.asked(None, "Metadata") <= 4);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_came_back_elsewhere_is_found_through_the_bootstrap_servers() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, knows(&[11, 12]));
        net.listen(11, knows(&[11, 12]));
        net.listen(12, knows(&[11, 12]));
        let client = connected(&net, &[1]).await?;
        any_beat(&client).await?;
        net.kill(11);
        net.kill(12);
        net.listen(1, knows(&[21]));
        net.listen(21, knows(&[21]));
        let again = client.cluster().retry(30 * SECOND, |_| any_beat(&client)).await;
        assert!(again.is_ok(), "{again:?}");
        assert_eq!(client.cluster().metadata().brokers.keys().copied().collect::<Vec<_>>(), [21]);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_three_that_is_gone_for_good_is_asked_last() -> Outcome {
        let net = Arc::new(Net::default());
        for port in [1, 2, 3] {
            net.listen(port, knows(&[1, 2, 3]));
        }
        let client = connected(&net, &[1, 2, 3]).await?;
        net.kill(3);
        let mut failed = 0;
        for _ in 0..100 {
            failed += usize::from(any_beat(&client).await.is_err());
            tokio::time::advance(SECOND).await;
        }
        assert!(failed <= 1, "{failed} of 100 went to the broker that is gone");
        client.cluster().refresh(Topics::Followed).await?;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_stands_still_is_waited_for_once() -> Outcome {
        let net = Arc::new(Net::default());
        let still = Arc::new(AtomicUsize::new(0));
        for port in [1, 2] {
            let still = Arc::clone(&still);
            net.listen(port, move |request| match still.load(Ordering::SeqCst) == usize::from(port) {
                true => Some(Reply::Nothing),
                false => knows(&[1, 2])(request),
            });
        }
        let client = connected(&net, &[1, 2]).await?;
        any_beat(&client).await?;
        // The one that is connected, and so the one that is trusted.
        still.store(if net.asked(Some(1), "Heartbeat") > 0 { 1 } else { 2 }, Ordering::SeqCst);
        let begun = Instant::now();
        assert!(any_beat(&client).await.is_err_and(|error| error.is_timeout()));
        for _ in 0..10 {
            client.cluster.refresh(Topics::Followed).await?;
            any_beat(&client).await?;
        }
        assert!(begun.elapsed() <= 2 * SECOND, "{:?}", begun.elapsed());
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_is_asked_for_once_until_it_fails() -> Outcome {
        let net = Arc::new(Net::default());
        let kept_by = Arc::new(AtomicUsize::new(1));
        for port in [1, 2] {
            let keeper = Arc::clone(&kept_by);
            net.listen(port, move |request| match request {
                Request::FindCoordinator(it) => {
                    let node_id = i32::try_from(keeper.load(Ordering::SeqCst)).unwrap_or(-1);
                    let each = it.coordinator_keys.iter().map(|key| Coordinator {
                        key: key.clone(),
                        node_id,
                        ..Default::default()
                    });
                    let answer = FindCoordinatorResponse { coordinators: each.collect(), ..Default::default() };
                    Some(Reply::Say(answer.into()))
                }
                _ => knows(&[1, 2])(request),
            });
        }
        let client = connected(&net, &[1, 2]).await?;
        let cluster = client.cluster();
        let to = To::GroupCoordinator("g");
        for n in 0..5 {
            let request = HeartbeatRequest { generation_id: n, ..Default::default() };
            cluster.call(to, Lane::Group, request, SECOND).await?;
        }
        assert_eq!((net.asked(None, "FindCoordinator"), net.asked(Some(1), "Heartbeat")), (1, 5));
        net.kill(1);
        kept_by.store(2, Ordering::SeqCst);
        let beat = |_| cluster.call(to, Lane::Group, HeartbeatRequest::default(), SECOND);
        cluster.retry(30 * SECOND, beat).await?;
        assert_eq!(net.asked(Some(2), "Heartbeat"), 1);
        Ok(())
    }

    /// Says who keeps what, until a kind of request is not answered any more.
    fn falls_silent(
        about: &'static str,
        keeper: i32,
        is_silent: Arc<AtomicBool>,
    ) -> impl Fn(&Request) -> Option<Reply> {
        move |request| match request {
            _ if request.name() == about && is_silent.load(Ordering::SeqCst) => Some(Reply::Nothing),
            Request::FindCoordinator(it) => {
                let found = |key: &crate::protocol::types::Str| Coordinator {
                    key: key.clone(),
                    node_id: keeper,
                    ..Default::default()
                };
                let coordinators = it.coordinator_keys.iter().map(found).collect();
                Some(Reply::Say(FindCoordinatorResponse { coordinators, ..Default::default() }.into()))
            }
            Request::Metadata(_) => {
                Some(Reply::Say(MetadataResponse { controller_id: -1, ..super::cluster(&[1], Vec::new()) }.into()))
            }
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_over_by_its_deadline_whatever_step_hangs() -> Outcome {
        let (group, transaction) = (To::GroupCoordinator("g"), To::TransactionCoordinator("t"));
        let cases = [
            (group, "ApiVersions", 1),
            (group, "FindCoordinator", 1),
            (transaction, "FindCoordinator", 1),
            // The keeper is a broker that is not known yet.
            (group, "Metadata", 2),
            (To::Controller, "Metadata", 1),
            (group, "Heartbeat", 1),
        ];
        for (to, about, keeper) in cases {
            let (net, is_silent) = (Arc::new(Net::default()), Arc::<AtomicBool>::default());
            net.listen(1, falls_silent(about, keeper, Arc::clone(&is_silent)));
            let client = connected(&net, &[1]).await?;
            is_silent.store(true, Ordering::SeqCst);
            let begun = Instant::now();
            let cluster = client.cluster().with_own_lanes();
            let asked = cluster.call(to, Lane::Group, HeartbeatRequest::default(), 2 * SECOND).await;
            let error = asked.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(begun.elapsed().as_secs_f32().round(), 2.0, "{about}: {error}");
            assert!(error.contains("2s"), "{about}: {error}");
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn long_polls_of_one_consumer_hold_up_no_other() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, |request| match request {
            Request::Fetch(_) => Some(Reply::SayAfter(30 * SECOND, FetchResponse::default().into())),
            _ => knows(&[1])(request),
        });
        let client = connected(&net, &[1]).await?;
        let (one, other) = (client.cluster().with_own_lanes(), client.cluster().with_own_lanes());
        let begun = Instant::now();
        let fetch = |cluster: Cluster| async move {
            cluster.call(To::Broker(1), Lane::Fetch, FetchRequest::default(), 60 * SECOND).await
        };
        let (a, b, c) = tokio::join!(fetch(one), fetch(other), any_beat(&client));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(begun.elapsed(), 30 * SECOND);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn closing_tells_those_who_wait() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, |request| match request {
            Request::Heartbeat(_) => Some(Reply::Nothing),
            _ => knows(&[1])(request),
        });
        let client = connected(&net, &[1]).await?;
        let own = client.cluster().with_own_lanes();
        let waits = own.call(To::Any, Lane::Group, HeartbeatRequest::default(), 60 * SECOND);
        let closes = async {
            tokio::time::sleep(SECOND).await;
            client.close().await;
        };
        let (waited, ()) = tokio::join!(waits, closes);
        assert!(waited.unwrap_err().is_closed());
        assert!(any_beat(&client).await.unwrap_err().is_closed());
        assert!(client.cluster().refresh(Topics::All).await.unwrap_err().is_closed());
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_moved_is_found_and_one_that_is_missing_is_said() -> Outcome {
        let net = Arc::new(Net::default());
        net.listen(1, |request| match request {
            Request::Metadata(_) => Some(Reply::Say(cluster(&[1], vec![topic("t", &[(1, 4), (-1, 5)])]).into())),
            _ => None,
        });
        let client = connected(&net, &[1]).await?;
        let of = |topic: &str, partition| TopicPartition::new(topic, partition);
        let leader = client.cluster().leader(&of("t", 0)).await?;
        assert_eq!((leader.broker, leader.epoch), (1, Some(4)));
        let said = async |of| client.cluster().leader(&of).await.unwrap_err().to_string();
        assert_eq!(said(of("t", 1)).await, "t-1: no leader at present");
        assert_eq!(said(of("t", 2)).await, "t-2: no such topic or partition is known");
        assert_eq!(client.partition_count(&Topic::from("t")).await?, Some(2));
        assert_eq!(client.partition_count(&Topic::from("u")).await?, None);
        Ok(())
    }
}

/// Brokers of before KIP-699 and KIP-709, and some that call themselves Kafka today, answer about one group at a time.
mod older_brokers {
    use super::*;

    const KNOWN: [(i16, i16); 7] = [(2, 1), (3, 1), (9, 7), (10, 3), (15, 0), (16, 0), (18, 0)];

    fn old(request: &Request) -> Option<Reply> {
        let said: crate::protocol::api::Response = match request {
            Request::ApiVersions(_) => {
                let known = KNOWN.map(|(api_key, max_version)| ApiVersion { api_key, min_version: 0, max_version });
                ApiVersionsResponse { api_keys: known.to_vec(), ..Default::default() }.into()
            }
            Request::Metadata(_) => cluster(&[1], vec![topic("t", &[(1, -1)])]).into(),
            Request::FindCoordinator(it) if it.key.as_str() == "lost" => {
                FindCoordinatorResponse { error_code: 30, node_id: -1, ..Default::default() }.into()
            }
            Request::FindCoordinator(_) => FindCoordinatorResponse { node_id: 1, ..Default::default() }.into(),
            Request::OffsetFetch(it) => {
                let partition = OffsetFetchResponsePartition {
                    committed_offset: if it.group_id.as_str() == "empty" { -1 } else { 7 },
                    ..Default::default()
                };
                let topic = OffsetFetchResponseTopic { name: "t".into(), partitions: vec![partition] };
                OffsetFetchResponse { topics: vec![topic], ..Default::default() }.into()
            }
            Request::DescribeGroups(it) => {
                let group = |id: &crate::protocol::types::Str| DescribedGroup {
                    group_id: id.clone(),
                    group_state: if id.as_str() == "lost" { "Dead" } else { "Empty" }.into(),
                    ..Default::default()
                };
                DescribeGroupsResponse { groups: it.groups.iter().map(group).collect(), ..Default::default() }.into()
            }
            Request::ListGroups(_) => {
                let group = ListedGroup { group_id: "g".into(), ..Default::default() };
                ListGroupsResponse { groups: vec![group], ..Default::default() }.into()
            }
            Request::ListOffsets(it) => {
                let partition = ListOffsetsPartitionResponse {
                    offset: it.topics[0].partitions[0].timestamp + 100,
                    ..Default::default()
                };
                let topic = ListOffsetsTopicResponse { name: "t".into(), partitions: vec![partition] };
                ListOffsetsResponse { topics: vec![topic], ..Default::default() }.into()
            }
            _ => return None,
        };
        Some(Reply::Say(said))
    }

    async fn connected() -> Result<(Arc<Net>, Client), Error> {
        let net = Arc::new(Net::default());
        net.listen(1, old);
        let client = Client::connect_over(config(&[1]), net.dial()).await?;
        Ok((net, client))
    }

    fn named(groups: &[&str]) -> Vec<String> {
        groups.iter().map(|it| (*it).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn are_asked_about_each_group() -> Outcome {
        let (net, client) = connected().await?;
        let committed = client.admin().committed_offsets(&named(&["a", "b", "empty", "lost"])).await?;
        let of = TopicPartition::new("t", 0);
        let offset = |group: &str| committed[group].as_ref().map(|it| it[&of].offset).map_err(ToString::to_string);
        let may_not = "this principal may not do that with the group";
        assert_eq!((offset("a"), offset("b"), offset("empty")), (Ok(Some(7)), Ok(Some(7)), Ok(None)));
        assert_eq!(
            offset("lost"),
            Err(format!("FindCoordinator to broker 1 (broker:1): GROUP_AUTHORIZATION_FAILED: {may_not}"))
        );
        assert_eq!((net.asked(None, "FindCoordinator"), net.asked(None, "OffsetFetch")), (4, 3));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn say_less_of_groups_and_what_they_do_not_say_is_none() -> Outcome {
        let (net, client) = connected().await?;
        let listed = client.admin().list_groups().await?.groups;
        let group_id = "g".to_owned();
        let (protocol_type, state, group_type) = (None, None, None);
        assert_eq!(listed, [GroupListing { group_id, protocol_type, state, group_type, coordinator: 1 }]);
        client.cluster.learn_coordinators([("lost".to_owned(), 1)]);
        let described = client.admin().describe_groups(&named(&["g", "lost"])).await?;
        assert_eq!(described["g"].as_ref().map(|it| it.state.as_str()).ok(), Some("Empty"));
        let lost = described["lost"].as_ref().err().and_then(Error::code);
        assert_eq!(lost, Some(ErrorCode::GROUP_ID_NOT_FOUND));
        assert_eq!((net.asked(None, "FindCoordinator"), net.asked(None, "DescribeGroups")), (0, 1));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn are_not_asked_for_an_offset_that_they_would_take_for_a_time() -> Outcome {
        let (net, client) = connected().await?;
        let of = TopicPartition::new("t", 0);
        let asked = async |spec| {
            let answers = client.admin().list_offsets(spec, std::slice::from_ref(&of), IsolationLevel::default()).await;
            answers.map(|it| it[&of].as_ref().map(|it| it.offset).map_err(|error| error.kind.to_string()))
        };
        assert_eq!(asked(OffsetSpec::Latest).await?, Ok(Some(99)));
        assert_eq!(asked(OffsetSpec::Earliest).await?, Ok(Some(98)));
        assert_eq!(asked(OffsetSpec::At(5)).await?, Ok(Some(105)));
        assert_eq!(asked(OffsetSpec::MaxTimestamp).await?, Err(ErrorKind::Unsupported.to_string()));
        assert_eq!(net.asked(None, "ListOffsets"), 3);
        Ok(())
    }
}

#[test]
fn mistakes_in_the_bootstrap_servers_are_all_named() {
    let of = |servers: &[&str]| ClientConfig {
        bootstrap_servers: servers.iter().map(|it| (*it).to_owned()).collect(),
        ..Default::default()
    };
    assert_eq!(of(&["a:1, b:2", "[::1]:3"]).bootstrap().map(|it| it.len()).ok(), Some(3));
    let said = |servers: &[&str]| of(servers).bootstrap().unwrap_err().to_string();
    assert_eq!(said(&[]), "bootstrap servers: none given");
    let both = said(&["a", "b:1", "c:x"]);
    assert!(both.contains("`a`") && both.contains("`c:x`"), "{both}");
}

#[test]
fn what_crosses_threads_may() {
    fn send_and_sync<T: Send + Sync + Clone>() {}
    fn send<T: Send>(_: &T) {}
    send_and_sync::<Client>();
    send_and_sync::<Admin>();
    send_and_sync::<Error>();
    let spawned = |client: Client| async move {
        let _ = client.admin().list_groups().await;
        let _ = client.admin().committed_offsets(&[]).await;
        let _ = client.admin().describe_groups(&[]).await;
        let _ = client.admin().create_topics(&[]).await;
        let _ = client.admin().describe_configs(&[]).await;
        client.admin().list_offsets(OffsetSpec::Latest, &[], IsolationLevel::default()).await
    };
    let check = |client: Client| send(&spawned(client));
    let _: &dyn Fn(Client) = &check;
}
