use arrow::array::*;
use arrow::datatypes::*;
use millstream::ids::*;
use millstream::job::spec::*;
use millstream::plugin::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
fn median(mut f: impl FnMut(), n: usize) -> Duration {
    for _ in 0..3 { f(); }
    let mut t: Vec<Duration> = (0..n).map(|_| { let s = Instant::now(); f(); s.elapsed() }).collect();
    t.sort(); t[n / 2]
}
fn rss() -> String { std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmRSS")).unwrap().to_string() }
fn native(offsets: &[i32], data: &[u8]) -> usize {
    let mut out = Vec::with_capacity(data.len()); let mut off: Vec<i32> = Vec::with_capacity(offsets.len() * 11); off.push(0);
    for w in offsets.windows(2) { for p in data[w[0] as usize..w[1] as usize].split(|b| *b == b' ').filter(|w| !w.is_empty()) { out.extend_from_slice(p); off.push(out.len() as i32); } }
    std::hint::black_box((&out, &off)); off.len()
}
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let config = std::env::args().nth(2).unwrap_or("{}".into());
    for limits in [true, false] {
        let host = PluginHost::with_time_limits(limits).unwrap();
        let plugin = match host.load(path.as_ref()) { Ok(p) => p, Err(e) => { println!("{e}"); return } };
        let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
        let description = plugin.describe(&config, &schema).unwrap();
        if limits { println!("{description:?} {}", rss()); }
        let line = "the quick brown fox jumps over one lazy dog today";
        let batch = |n: usize, line: &str| RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from_iter_values((0..n).map(|_| line)))]).unwrap();
        let cx = CallContext { batch: BatchId(12), time: BatchTime(1_000_000) };
        let caller = |instance, time| plugin.caller(StageUse { stage: "words".into(), config: config.clone(), key: Arc::new(Schema::empty()), instance,
            limits: PluginLimits { memory_bytes_max: 64 << 20, time_max: Duration::from_millis(time), output_bytes_max: 16 << 20 }, files: Default::default() }, &description);
        let (one, many) = (batch(1, line), batch(10_000, line));
        let col = many.column(0).as_string::<i32>();
        for spec in [InstanceSpec::Batch, InstanceSpec::Worker] {
            let mut sp = caller(spec, 10_000);
            let n = median(|| { native(col.offsets(), col.values()); }, 101);
            let t = median(|| { sp.process(cx, &many).unwrap(); }, 101);
            println!("limits {limits} {spec:?}: native {n:?} split {t:?} ratio {:.3} rows {}; one row {:?}", t.as_secs_f64() / n.as_secs_f64(), sp.process(cx, &many).unwrap().rows.num_rows(), median(|| { sp.process(cx, &one).unwrap(); }, 1001));
        }
    }
}
