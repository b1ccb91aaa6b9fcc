//! The parts that everything rests on, under every schedule there is.

use super::*;
use crate::cache::flight::{Flight, Readable};
use crate::cache::search::Hit;
use crate::cache::tasks::Tasks;
use crate::{Claim, LayerReader, LayerWriter, Tier};

#[test]
fn whoever_waits_for_tasks_sees_the_last_one_end() {
    exhaust(|| async {
        let tasks = Tasks::default();
        let running = [1, 2].map(|most| tasks.begin(most).unwrap());
        assert!(tasks.begin(2).is_none());
        for running in running {
            spawn(async { drop(running) });
        }
        tasks.idle().await;
        assert!(tasks.begin(1).is_some());
    });
}

async fn half_written() -> (Box<dyn LayerWriter>, Arc<dyn LayerReader>) {
    let Claim::Write(mut writer) = memory("near").create(&descriptor(LAYER)).await.unwrap() else {
        unreachable!("it is empty")
    };
    writer.write(Bytes::from_static(&LAYER[..2])).await.unwrap();
    let partial = writer.partial().unwrap();
    (writer, partial)
}

#[test]
fn whoever_waits_for_an_offset_is_told_when_it_is_written() {
    exhaust(|| async {
        let flight = Arc::new(Flight::new(None));
        let (_writer, partial) = half_written().await;
        let filling = spawn({
            let flight = Arc::clone(&flight);
            async move {
                flight.begin_filling(Some(partial), true);
                flight.advance(2);
            }
        });
        assert!(flight.readable().await.is_none());
        assert!(matches!(flight.reader_at(0, 2).await, Readable::Early(_)));
        assert!(flight.was_read_early());
        filling.await.unwrap();
    });
}

#[test]
fn whoever_waits_behind_the_end_is_told_of_the_landing() {
    exhaust(|| async {
        let flight = Arc::new(Flight::new(None));
        let (_writer, reader) = half_written().await;
        flight.begin_filling(Some(Arc::clone(&reader)), true);
        let filling = spawn({
            let flight = Arc::clone(&flight);
            async move {
                flight.advance(2);
                drop(flight.land(Ok(Some(Hit::at(0, reader)))));
            }
        });
        assert!(matches!(
            flight.reader_at(0, 3).await,
            Readable::Landed(Ok(Some(_)))
        ));
        filling.await.unwrap();
    });
}

#[test]
fn whoever_has_read_early_is_known_before_the_fill_ends() {
    exhaust(|| async {
        let flight = Arc::new(Flight::new(None));
        let (_writer, partial) = half_written().await;
        flight.begin_filling(Some(partial), true);
        flight.advance(2);
        let filling = spawn({
            let flight = Arc::clone(&flight);
            async move {
                flight.begin_searching(true);
                let known = flight.was_read_early();
                drop(flight.land(Ok(None)));
                known
            }
        });
        let read = matches!(flight.reader_at(0, 1).await, Readable::Early(_));
        assert_eq!(filling.await.unwrap(), read);
    });
}
