//! Tests that hold for both change feeds.

/// Makes two tests of each function, an `async fn(Feed)`: one for each change feed.
#[macro_export]
macro_rules! over_both_feeds {
    ($($test:ident),* $(,)?) => {
        $crate::over_both_feeds!(@ over_notify, Notify, $($test),*);
        $crate::over_both_feeds!(@ over_wal, Wal, $($test),*);
    };
    (@ $module:ident, $feed:ident, $($test:ident),*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(::ddp_postgres::Feed::$feed).await;
                }
            )*
        }
    };
}
