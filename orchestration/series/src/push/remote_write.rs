//! Remote write 1.0: snappy around a protobuf message.

use super::{
    Pushed,
    messages::{Label, TimeSeries, WireSample, WriteRequest},
};
use crate::{Description, Error, Labels, Result, Sample};
use prost::Message;
use std::collections::BTreeMap;

/// Most bytes of one request, before and after it was compressed.
pub const WRITE_MAX_BYTES: usize = 32 << 20;

/// What the numbers of `prometheus.MetricMetadata.MetricType` mean.
const KINDS: [&str; 8] =
    ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];

/// Reads the body of a request.
///
/// # Errors
/// [`Error::Malformed`] for what is none, and for what is larger than [`WRITE_MAX_BYTES`]; [`Error::Labels`].
pub fn read_remote_write(body: &[u8]) -> Result<Pushed> {
    let malformed =
        |what: String| Error::Malformed(format!("the request is no remote write: {what}"));
    let bytes = snap::raw::decompress_len(body).map_err(|error| malformed(error.to_string()))?;
    if bytes > WRITE_MAX_BYTES {
        return Err(malformed(format!("it has {bytes} bytes: at most {WRITE_MAX_BYTES}")));
    }
    let plain = snap::raw::Decoder::new().decompress_vec(body);
    let plain = plain.map_err(|error| malformed(error.to_string()))?;
    let request =
        WriteRequest::decode(plain.as_slice()).map_err(|error| malformed(error.to_string()))?;
    let mut pushed = Pushed::default();
    for series in request.series {
        let labels = Labels::new(series.labels.into_iter().map(|label| (label.name, label.value)))?;
        if labels.name().is_empty() {
            return Err(malformed(format!("the series {labels} has no name")));
        }
        let samples = series.samples.iter();
        let samples = samples.map(|one| (labels.clone(), Sample::new(one.time_ms, one.value)));
        pushed.batch.extend(samples);
    }
    for one in request.metadata {
        let kind = usize::try_from(one.kind).ok().and_then(|kind| KINDS.get(kind));
        let kind = (*kind.unwrap_or(&KINDS[0])).to_owned();
        let description = Description { kind, help: one.help, unit: one.unit };
        pushed.descriptions.push((one.name, description));
    }
    Ok(pushed)
}

/// The body of a request with these samples; those of a series in the order of their times.
///
/// # Errors
/// [`Error::TooMuch`] for more than [`WRITE_MAX_BYTES`].
pub fn remote_write(batch: &[(Labels, Sample)]) -> Result<Vec<u8>> {
    let mut each: BTreeMap<&Labels, Vec<WireSample>> = BTreeMap::new();
    for (labels, sample) in batch {
        let sample = WireSample { value: sample.value, time_ms: sample.time_ms };
        each.entry(labels).or_default().push(sample);
    }
    let label = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    let one = |(labels, samples): (&Labels, _)| TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples,
    };
    let series = each.into_iter().map(one).collect();
    let plain = WriteRequest { series, metadata: Vec::new() }.encode_to_vec();
    let packed = (plain.len() <= WRITE_MAX_BYTES)
        .then(|| snap::raw::Encoder::new().compress_vec(&plain).ok())
        .flatten();
    packed.ok_or_else(|| {
        let text = "a request has at most {} bytes: send fewer samples at a time";
        Error::TooMuch(text.replace("{}", &WRITE_MAX_BYTES.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(series: Vec<TimeSeries>) -> Vec<u8> {
        let request = WriteRequest { series, metadata: Vec::new() };
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_read_and_what_is_none_is_refused() {
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        let samples =
            vec![WireSample { value: 1.5, time_ms: 7 }, WireSample { value: 2.0, time_ms: 8 }];
        let labels = vec![label("site", "edge"), label("__name__", "up")];
        let good = packed(vec![TimeSeries { labels, samples: samples.clone() }]);

        let read = read_remote_write(&good).unwrap();
        assert_eq!(read.batch[1].0.to_string(), r#"up{site="edge"}"#);
        assert_eq!(read.batch[1].1, Sample::new(8, 2.0));

        let nameless = packed(vec![TimeSeries { labels: vec![label("a", "b")], samples }]);
        assert!(read_remote_write(&nameless).unwrap_err().to_string().contains("no name"));
        assert!(read_remote_write(b"not snappy").is_err());
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(read_remote_write(&bomb).unwrap_err().to_string().contains("at most"));
        for end in 0..good.len() {
            assert!(read_remote_write(&good[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let labels = |name: &str| Labels::new([("__name__", name), ("bus", "1")]).unwrap();
        let sample = |name: &str, at| (labels(name), Sample::new(at, 0.5));
        let batch = vec![sample("x", 1), sample("x", 2), sample("y", 1)];

        let mut read = read_remote_write(&remote_write(&batch).unwrap()).unwrap().batch;

        read.sort_by(|one, other| (&one.0, one.1.time_ms).cmp(&(&other.0, other.1.time_ms)));
        assert_eq!(read, batch);
        let many = vec![sample("x", 1); 3_500_000];
        assert!(remote_write(&many).unwrap_err().to_string().contains("fewer samples"));
    }
}
