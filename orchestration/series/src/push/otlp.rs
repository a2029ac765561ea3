//! OpenTelemetry's metrics over HTTP in protobuf, as series: names as Prometheus' own translation makes them.

use super::{
    Pushed,
    messages::{
        Any, Data, ExportRequest, ExportResponse, HistogramPoint, KeyValue, Metric, Number,
        NumberPoint, PartialSuccess, ResourceMetrics, SummaryPoint,
    },
};
use crate::{Description, Error, Labels, NAME, Result, Sample, query::number};
use prost::Message;

/// Most bytes of one request.
pub const OTLP_MAX_BYTES: usize = 32 << 20;

/// Values that count from the beginning of the process; others have no form in our series.
const CUMULATIVE: i32 = 2;

/// The flag of a point without a value.
const NOT_RECORDED: u32 = 1;

/// What a request holds.
#[derive(Debug, Default)]
pub struct Otlp {
    /// What can be stored.
    pub pushed: Pushed,
    /// Points that cannot.
    pub rejected: i64,
    /// Why.
    pub why: String,
}

impl Otlp {
    /// The answer's body.
    pub fn answer(&self) -> Vec<u8> {
        let partial = (self.rejected > 0)
            .then(|| PartialSuccess { rejected: self.rejected, message: self.why.clone() });
        ExportResponse { partial }.encode_to_vec()
    }

    /// Counts points that are not stored.
    pub fn reject(&mut self, points: usize, why: impl FnOnce() -> String) {
        if points > 0 {
            self.rejected += i64::try_from(points).unwrap_or(i64::MAX);
            self.why = why();
        }
    }
}

/// Reads the body of a request.
///
/// # Errors
/// [`Error::Malformed`] for what is none. Points that cannot be stored are counted, and the others are there.
pub fn read_otlp(body: &[u8]) -> Result<Otlp> {
    let request = ExportRequest::decode(body)
        .map_err(|error| Error::Malformed(format!("the request is no OTLP: {error}")))?;
    let mut read = Otlp::default();
    for resource in &request.resources {
        let common = resource_labels(resource);
        for metric in resource.scopes.iter().flat_map(|scope| &scope.metrics) {
            Reading { read: &mut read, common: &common, metric, name: name(metric) }.metric();
        }
    }
    Ok(read)
}

/// One metric on its way into series.
struct Reading<'a> {
    read: &'a mut Otlp,
    common: &'a [(String, String)],
    metric: &'a Metric,
    name: String,
}

impl Reading<'_> {
    fn metric(mut self) {
        let metric = self.metric;
        let kind = match &metric.data {
            Some(Data::Gauge(gauge)) => self.numbers(&gauge.points, "gauge"),
            Some(Data::Sum(sum)) if sum.temporality != CUMULATIVE => self.deltas(sum.points.len()),
            Some(Data::Sum(sum)) => {
                self.numbers(&sum.points, if sum.is_monotonic { "counter" } else { "gauge" })
            }
            Some(Data::Histogram(one)) if one.temporality != CUMULATIVE => {
                self.deltas(one.points.len())
            }
            Some(Data::Histogram(histogram)) => {
                histogram.points.iter().for_each(|point| self.histogram(point));
                "histogram"
            }
            Some(Data::Exponential(one)) => {
                let name = self.name.clone();
                let why = || format!("`{name}`: exponential histograms are not supported");
                self.read.reject(one.points.len(), why);
                return;
            }
            Some(Data::Summary(summary)) => {
                summary.points.iter().for_each(|point| self.summary(point));
                "summary"
            }
            None => return,
        };
        let (kind, help) = (kind.to_owned(), metric.description.clone());
        let description = Description { kind, help, unit: metric.unit.clone() };
        self.read.pushed.descriptions.push((self.name, description));
    }

    fn deltas(&mut self, points: usize) -> &'static str {
        let name = &self.name;
        let why = || format!("`{name}`: send cumulative values, not differences");
        self.read.reject(points, why);
        "unknown"
    }

    fn numbers(&mut self, points: &[NumberPoint], kind: &'static str) -> &'static str {
        for point in points {
            let value = match point.value {
                Some(Number::Float(value)) => value,
                Some(Number::Int(value)) => value as f64,
                None => Sample::stale(0).value,
            };
            self.put("", &point.attributes, None, (point.time_ns, point.flags), value);
        }
        kind
    }

    fn histogram(&mut self, point: &HistogramPoint) {
        let when = (point.time_ns, point.flags);
        let mut below = 0_u64;
        let ends = point.bounds.iter().copied().chain([f64::INFINITY]);
        for (end, count) in ends.zip(&point.counts) {
            below = below.saturating_add(*count);
            let end = Some(("le", number(end)));
            self.put("_bucket", &point.attributes, end, when, below as f64);
        }
        self.put("_count", &point.attributes, None, when, point.count as f64);
        if let Some(sum) = point.sum {
            self.put("_sum", &point.attributes, None, when, sum);
        }
    }

    fn summary(&mut self, point: &SummaryPoint) {
        let when = (point.time_ns, point.flags);
        for one in &point.quantiles {
            let quantile = Some(("quantile", number(one.quantile)));
            self.put("", &point.attributes, quantile, when, one.value);
        }
        self.put("_count", &point.attributes, None, when, point.count as f64);
        self.put("_sum", &point.attributes, None, when, point.sum);
    }

    fn put(
        &mut self,
        suffix: &str,
        attributes: &[KeyValue],
        extra: Option<(&str, String)>,
        (time_ns, flags): (u64, u32),
        value: f64,
    ) {
        let own = attributes.iter().map(|one| (label_name(&one.key), text(one)));
        let extra = extra.map(|(name, value)| (name.to_owned(), value));
        let named = [(NAME.to_owned(), format!("{}{suffix}", self.name))];
        let mut pairs: Vec<(String, String)> = own.chain(extra).chain(named).collect();
        // What a point says of itself counts more than what its resource says.
        for (name, value) in self.common {
            if !pairs.iter().any(|(own, _)| own == name) {
                pairs.push((name.clone(), value.clone()));
            }
        }
        match Labels::new(pairs) {
            Ok(labels) => {
                let time_ms = i64::try_from(time_ns / 1_000_000).unwrap_or(i64::MAX);
                let is_stale = flags & NOT_RECORDED != 0;
                let value = if is_stale { Sample::stale(0).value } else { value };
                self.read.pushed.batch.push((labels, Sample::new(time_ms, value)));
            }
            Err(error) => self.read.reject(1, || error.to_string()),
        }
    }
}

/// `job` and `instance`, as Prometheus makes them of a resource.
fn resource_labels(resource: &ResourceMetrics) -> Vec<(String, String)> {
    let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
    let find =
        |key: &str| attributes.clone().find(|one| one.key == key).map(text).unwrap_or_default();
    let (namespace, service) = (find("service.namespace"), find("service.name"));
    let job = if namespace.is_empty() { service } else { format!("{namespace}/{service}") };
    let pairs = [("job", job), ("instance", find("service.instance.id"))];
    let present = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    present.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::Text(text)) => text.clone(),
        Some(Any::Bool(value)) => value.to_string(),
        Some(Any::Int(value)) => value.to_string(),
        Some(Any::Float(value)) => number(*value),
        None => String::new(),
    }
}

/// The metric's name with its unit, and `_total` if it only grows.
fn name(metric: &Metric) -> String {
    let mut name = plain(&metric.name, ":_");
    let unit = match metric.unit.as_str() {
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "min" => "minutes",
        "h" => "hours",
        "d" => "days",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "%" => "percent",
        "Cel" => "celsius",
        "V" => "volts",
        "A" => "amperes",
        "W" => "watts",
        "J" => "joules",
        "Hz" => "hertz",
        "1" if matches!(metric.data, Some(Data::Gauge(_))) => "ratio",
        _ => "",
    };
    let mut add = |suffix: &str| {
        if !suffix.is_empty() && !name.ends_with(&format!("_{suffix}")) {
            name = format!("{name}_{suffix}");
        }
    };
    add(unit);
    if matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic) {
        add("total");
    }
    name
}

fn label_name(key: &str) -> String {
    plain(key, "_")
}

/// The same with an underscore for what may not stand in a name.
fn plain(text: &str, others: &str) -> String {
    let allowed = |one: char| one.is_ascii_alphanumeric() || others.contains(one);
    let made: String = text.chars().map(|one| if allowed(one) { one } else { '_' }).collect();
    match made.starts_with(|one: char| one.is_ascii_digit()) || made.is_empty() {
        true => format!("_{made}"),
        false => made,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::messages::{AnyValue, Histogram, Resource, ScopeMetrics, Sum},
        *,
    };

    fn pair(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(Any::Text(value.into())) });
        KeyValue { key: key.into(), value }
    }

    fn sent(metrics: Vec<Metric>) -> Otlp {
        let attributes = vec![pair("service.name", "counter"), pair("service.instance.id", "7")];
        let resources = vec![ResourceMetrics {
            resource: Some(Resource { attributes }),
            scopes: vec![ScopeMetrics { metrics }],
        }];
        read_otlp(&ExportRequest { resources }.encode_to_vec()).unwrap()
    }

    fn sum(temporality: i32) -> Metric {
        let point = NumberPoint {
            attributes: vec![pair("http.method", "GET")],
            time_ns: 5_000_000,
            value: Some(Number::Int(3)),
            flags: 0,
        };
        let data = Data::Sum(Sum { points: vec![point], temporality, is_monotonic: true });
        let (name, unit) = ("http.server.time".to_owned(), "s".to_owned());
        Metric { name, description: String::new(), unit, data: Some(data) }
    }

    #[test]
    fn counters_and_histograms_become_series() {
        let point = HistogramPoint {
            time_ns: 9_000_000,
            count: 6,
            sum: Some(1.5),
            counts: vec![1, 2, 3],
            bounds: vec![0.1, 0.5],
            ..HistogramPoint::default()
        };
        let data = Data::Histogram(Histogram { points: vec![point], temporality: CUMULATIVE });
        let latency = Metric { name: "latency".into(), data: Some(data), ..Metric::default() };

        let read = sent(vec![sum(CUMULATIVE), latency]);

        let told: Vec<String> = read
            .pushed
            .batch
            .iter()
            .map(|(labels, one)| format!("{labels} {}", one.value))
            .collect();
        assert_eq!(
            told,
            [
                r#"http_server_time_seconds_total{http_method="GET", instance="7", job="counter"} 3"#,
                r#"latency_bucket{instance="7", job="counter", le="0.1"} 1"#,
                r#"latency_bucket{instance="7", job="counter", le="0.5"} 3"#,
                r#"latency_bucket{instance="7", job="counter", le="+Inf"} 6"#,
                r#"latency_count{instance="7", job="counter"} 6"#,
                r#"latency_sum{instance="7", job="counter"} 1.5"#,
            ]
        );
        assert_eq!(read.pushed.batch[0].1.time_ms, 5);
        assert!(read.answer().is_empty());
    }

    #[test]
    fn differences_are_rejected_and_named() {
        let read = sent(vec![sum(1)]);

        assert_eq!((read.rejected, read.pushed.batch.len()), (1, 0));
        let answer = ExportResponse::decode(read.answer().as_slice()).unwrap().partial.unwrap();
        assert!(answer.message.contains("cumulative"), "{}", answer.message);
        assert!(read_otlp(b"\xff\xff").is_err());
    }
}
