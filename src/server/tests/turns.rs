//! Whether connections share a thread as they should. Calls here spin for a given time, so that a
//! bound on their number holds on a slow machine too: whatever else the machine does only cuts a turn
//! sooner.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::kit::patiently;
use crate::server::lane::Lane;
use crate::server::turns::{Reading, TURN, Talk, Turns};

/// How long a call takes.
const CALL: Duration = Duration::from_micros(50);

fn spin() {
    let begun = Instant::now();
    while begun.elapsed() < CALL {
        std::hint::spin_loop();
    }
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(patiently(future));
}

/// A connection that has `calls` under way at once, and ends when they are done. Each counts itself
/// and says so.
async fn busy(lane: Lane, calls: usize, done: Arc<AtomicUsize>, news: Arc<Notify>) {
    let mut turns = Turns::new(lane, 256);
    let begun = turns.executor();
    let finished = Arc::new(AtomicUsize::new(0));
    let mut is_new = true;
    poll_fn(|cx| {
        let connection = |_: &mut Context<'_>, _| {
            for _ in 0..if std::mem::take(&mut is_new) { calls } else { 0 } {
                let (done, news) = (Arc::clone(&done), Arc::clone(&news));
                let finished = Arc::clone(&finished);
                begun.execute(async move {
                    spin();
                    done.fetch_add(1, Ordering::Relaxed);
                    finished.fetch_add(1, Ordering::Relaxed);
                    news.notify_one();
                });
            }
            Poll::Pending
        };
        let end = |_: &mut Context<'_>, _| match finished.load(Ordering::Relaxed) == calls {
            true => Poll::Ready(()),
            false => Poll::Pending,
        };
        turns.poll(cx, connection, end)
    })
    .await;
}

/// A connection on which one call comes with `news`; returns how many of the others' calls were done
/// by the time that came and by the time it was answered.
async fn quiet(lane: Lane, done: Arc<AtomicUsize>, news: Arc<Notify>) -> (usize, usize) {
    let mut turns = Turns::new(lane, 256);
    let begun = turns.executor();
    let answered = Arc::new(AtomicUsize::new(usize::MAX));
    let came = Arc::new(AtomicUsize::new(usize::MAX));
    let mut notified = pin!(async {
        news.notified().await;
        came.store(done.load(Ordering::Relaxed), Ordering::Relaxed);
    });
    let mut is_new = true;
    poll_fn(|cx| {
        let connection = |cx: &mut Context<'_>, _| {
            if is_new && notified.as_mut().poll(cx).is_ready() {
                is_new = false;
                let (answered, done) = (Arc::clone(&answered), Arc::clone(&done));
                begun.execute(async move {
                    answered.store(done.load(Ordering::Relaxed), Ordering::Relaxed);
                });
            }
            Poll::Pending
        };
        let end = |_: &mut Context<'_>, _| match answered.load(Ordering::Relaxed) {
            usize::MAX => Poll::Pending,
            _ => Poll::Ready(()),
        };
        turns.poll(cx, connection, end)
    })
    .await;
    (came.load(Ordering::Relaxed), answered.load(Ordering::Relaxed))
}

/// Most calls of one turn.
const CALLS_BY_TURN: usize = (TURN.as_micros() / CALL.as_micros()) as usize + 1;

/// Starts so many connections with so many calls each.
fn crowd(
    lane: &Lane,
    connections: usize,
    calls: usize,
) -> (JoinSet<()>, Arc<AtomicUsize>, Arc<Notify>) {
    let (done, news) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut others = JoinSet::new();
    for _ in 0..connections {
        others.spawn(busy(lane.clone(), calls, Arc::clone(&done), Arc::clone(&news)));
    }
    (others, done, news)
}

#[test]
fn one_call_waits_for_a_turn_of_another_however_many_are_busy() {
    for connections in [1, 3, 20] {
        run(async {
            let lane = Lane::default();
            let (others, done, news) = crowd(&lane, connections, 400 / connections);
            // By now each has had its first turn.
            while done.load(Ordering::Relaxed) < connections * CALLS_BY_TURN {
                tokio::task::yield_now().await;
            }
            let (came, answered) = quiet(lane, Arc::clone(&done), news).await;
            assert!(came < 400 / connections * connections, "the others are still at work");
            // The turn that brought the news, and at most one more before the thread looks for it.
            assert!(answered - came < 2 * CALLS_BY_TURN, "{connections}: {came} {answered}");
            others.join_all().await;
            assert_eq!(done.load(Ordering::Relaxed), 400 / connections * connections);
        });
    }
}

#[test]
fn busy_connections_take_turns() {
    run(async {
        let lane = Lane::default();
        let (three, of_three, _) = crowd(&lane, 3, 100);
        let (one, of_one, _) = crowd(&lane, 1, 100);
        let when_three_ended = async {
            three.join_all().await;
            of_one.load(Ordering::Relaxed)
        };
        let when_one_ended = async {
            one.join_all().await;
            of_three.load(Ordering::Relaxed)
        };
        let (of_one, of_three) = tokio::join!(when_three_ended, when_one_ended);
        // Who needs a hundred calls needs so many turns, and each of the others had as many, with a
        // call in each at least.
        let turns = 100 / CALLS_BY_TURN - 1;
        assert!(of_one >= turns && of_three >= 3 * turns, "{of_one} {of_three}");
    });
}

#[test]
fn a_connection_that_panics_in_its_turn_leaves_the_lane_to_others() {
    run(async {
        let lane = Lane::default();
        let mut turns = Turns::new(lane.clone(), 256);
        let panics = tokio::spawn(async move {
            let mut polls = 0;
            poll_fn(|cx| {
                let connection = |cx: &mut Context<'_>, _| {
                    polls += 1;
                    assert!(polls < 10 * CALLS_BY_TURN, "on purpose");
                    spin();
                    cx.waker().wake_by_ref();
                    Poll::Pending
                };
                turns.poll(cx, connection, |_: &mut Context<'_>, _| Poll::<()>::Pending)
            })
            .await;
        });
        let (others, done, _) = crowd(&lane, 2, 100);
        assert!(panics.await.is_err_and(|error| error.is_panic()));
        others.join_all().await;
        assert_eq!(done.load(Ordering::Relaxed), 200);
    });
}

#[test]
fn a_call_that_rings_while_it_is_polled_is_polled_again() {
    run(async {
        let mut turns = Turns::new(Lane::default(), 256);
        let begun = turns.executor();
        let polls = Arc::new(AtomicUsize::new(0));
        let mut is_new = true;
        poll_fn(|cx| {
            let connection = |_: &mut Context<'_>, _| {
                if std::mem::take(&mut is_new) {
                    let polls = Arc::clone(&polls);
                    begun.execute(poll_fn(move |cx| {
                        if polls.fetch_add(1, Ordering::Relaxed) == 2 {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }));
                }
                Poll::Pending
            };
            let end = |_: &mut Context<'_>, _| match polls.load(Ordering::Relaxed) {
                3 => Poll::Ready(()),
                _ => Poll::Pending,
            };
            turns.poll(cx, connection, end)
        })
        .await;
    });
}

#[test]
fn a_call_woken_by_another_thread_goes_on() {
    run(async {
        let mut turns = Turns::new(Lane::default(), 256);
        let begun = turns.executor();
        let done = Arc::new(AtomicUsize::new(0));
        let mut calls = 0;
        poll_fn(|cx| {
            let connection = |_: &mut Context<'_>, _| {
                // The second call takes the place of the first.
                if calls == done.load(Ordering::Relaxed) && calls < 2 {
                    calls += 1;
                    let done = Arc::clone(&done);
                    begun.execute(async move {
                        let elsewhere = tokio::task::spawn_blocking(|| ());
                        elsewhere.await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                }
                Poll::Pending
            };
            let end = |cx: &mut Context<'_>, _| match done.load(Ordering::Relaxed) {
                2 => Poll::Ready(()),
                _ => {
                    if done.load(Ordering::Relaxed) == 1 {
                        cx.waker().wake_by_ref();
                    }
                    Poll::Pending
                }
            };
            turns.poll(cx, connection, end)
        })
        .await;
        assert_eq!(turns.places(), 1);
    });
}

#[test]
fn a_connection_that_never_has_enough_is_cut_too() {
    run(async {
        let mut turns = Turns::new(Lane::default(), 256);
        let mut polls = 0;
        let mut cuts = 0;
        poll_fn(|cx| {
            let connection = |cx: &mut Context<'_>, _| {
                polls += 1;
                spin();
                cx.waker().wake_by_ref();
                Poll::Pending
            };
            let end = |_: &mut Context<'_>, _| {
                cuts += 1;
                if cuts == 3 { Poll::Ready(()) } else { Poll::Pending }
            };
            turns.poll(cx, connection, end)
        })
        .await;
        // One more in each turn lets answers out.
        assert!(polls <= 3 * (CALLS_BY_TURN + 1), "{polls}");
    });
}

#[test]
fn a_connection_that_has_ended_is_left_alone_and_the_rest_goes_on() {
    run(async {
        let mut turns = Turns::new(Lane::default(), 256);
        let mut polls = 0;
        let mut turn = 0;
        poll_fn(|cx| {
            let connection = |cx: &mut Context<'_>, _| {
                polls += 1;
                cx.waker().wake_by_ref();
                Poll::Ready(())
            };
            let end = |cx: &mut Context<'_>, talk| {
                assert_eq!(talk, Talk::Over);
                turn += 1;
                cx.waker().wake_by_ref();
                if turn == 3 { Poll::Ready(()) } else { Poll::Pending }
            };
            turns.poll(cx, connection, end)
        })
        .await;
        assert_eq!(polls, 1);
    });
}

#[test]
fn a_peer_that_resets_what_it_opens_is_not_read_until_its_calls_are_gone() {
    run(async {
        // Each time it is read it opens as many calls as it may, and gives them up.
        const MAY: usize = 10;
        let mut turns = Turns::new(Lane::default(), u32::try_from(MAY).unwrap());
        let begun = turns.executor();
        let (done, pauses) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        poll_fn(|cx| {
            let connection = |cx: &mut Context<'_>, reading| {
                if reading == Reading::Paused {
                    pauses.fetch_add(1, Ordering::Relaxed);
                    return Poll::Pending;
                }
                for _ in 0..MAY {
                    let done = Arc::clone(&done);
                    begun.execute(async move {
                        // It is worked on twice, so that turns end with calls still open.
                        tokio::task::yield_now().await;
                        spin();
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            };
            let end = |_: &mut Context<'_>, _| match done.load(Ordering::Relaxed) {
                500.. => Poll::Ready(()),
                _ => Poll::Pending,
            };
            turns.poll(cx, connection, end)
        })
        .await;
        assert!(turns.places() <= 3 * MAY, "{}", turns.places());
        assert!(pauses.load(Ordering::Relaxed) > 0);
    });
}
