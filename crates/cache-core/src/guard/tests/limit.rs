use super::*;

#[tokio::test(start_paused = true)]
async fn never_more_than_its_places_are_taken_also_when_waiters_leave() {
    let (tier, script) = far().await;
    let tier = Arc::new(Limit::new(tier, 7));
    let reader = opened(&*tier).await;
    script.then((0..400).map(|i| Act::WorkAfter(Duration::from_millis(1 + i * 7 % 13))));
    let tasks = (0..200u64).map(|i| {
        let (tier, reader) = (Arc::clone(&tier), Arc::clone(&reader));
        tokio::spawn(async move {
            let read = async {
                match i % 3 {
                    0 => drop(opened(&*tier).await),
                    1 => assert_eq!(reader.read_bytes(i, 5).await.unwrap().len(), 5),
                    _ => drop(reader.stream(i).try_next().await.unwrap()),
                }
            };
            // A third leaves while it waits or works.
            let patience = if i % 4 == 0 {
                Duration::from_millis(i / 2)
            } else {
                HOUR
            };
            tokio::time::timeout(patience, read).await.is_ok()
        })
    });
    let done = join_all(tasks).await;
    let done = done.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    assert!((150..200).contains(&done), "{done} of 200");
    assert_eq!(script.most_running(), 7);
    assert_eq!((script.running(), tier.policy().free()), (0, 7));
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served() {
    let (tier, script) = far().await;
    let tier = Limit::new(tier, 1);
    script.then([Act::WorkAfter(secs(1)); 3]);
    let order = std::sync::Mutex::new(Vec::new());
    let ask = |i| {
        let (tier, order) = (&tier, &order);
        async move {
            tier.open(&layer()).await.unwrap();
            order.lock().unwrap().push(i);
        }
    };
    let mut asking: Vec<_> = (0..3).map(|i| ask(i).boxed_local()).collect();
    for ask in &mut asking {
        assert!(ask.now_or_never().is_none());
    }
    asking.reverse();
    join_all(asking).await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn one_place_is_enough_to_read_and_write_the_same_tier() {
    let (tier, _) = far().await;
    let tier = Limit::new(tier, 0);
    let other = LayerDescriptor::new(Digest::sha256_of(b"another blob"));
    let Claim::Write(mut writer) = tier.create(&other).await.unwrap() else {
        panic!("it is there already")
    };
    let copy = async {
        let mut listed = tier.list();
        listed.try_next().await.unwrap().unwrap();
        let mut stream = opened(&tier).await.stream(0);
        while let Some(piece) = stream.try_next().await.unwrap() {
            writer.write(piece).await.unwrap();
        }
        all(writer.commit(&index()).await.unwrap(), 0).await
    };
    let copied = tokio::time::timeout(HOUR, copy).await.expect("nobody is stuck");
    assert_eq!(copied.unwrap(), layer_bytes());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_writer_does_not_keep_it_from_writing() {
    let (tier, script) = empty();
    let tier = Limit::new(tier, 1);
    let mut writer = writer(&tier).await;
    script.then([Act::WorkAfter(secs(1))]);
    let layer = layer();
    let mut waiting = tier.create(&layer);
    assert!((&mut waiting).now_or_never().is_none());
    let finish = async {
        writer.write(layer_bytes()).await.unwrap();
        writer.commit(&index()).await.unwrap();
        waiting.await.unwrap()
    };
    let claim = tokio::time::timeout(HOUR, finish).await.expect("nobody is stuck");
    assert!(matches!(claim, Claim::Exists(_)));
}
