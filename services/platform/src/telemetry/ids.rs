//! The ids that people search for, on every span of a piece of work: a part of it inherits those that it does not name.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry::{Context, KeyValue, SpanId, trace::Span as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};

use crate::trace::IDS;

/// Copies ids from a span that is open in this process to the spans that begin inside it.
///
/// Viewers search single spans: an exchange of keys or a pull that names no container cannot be found by one.
#[derive(Debug, Default)]
pub(super) struct InheritIds {
    open: Mutex<HashMap<SpanId, Vec<KeyValue>>>,
}

impl InheritIds {
    fn open(&self) -> MutexGuard<'_, HashMap<SpanId, Vec<KeyValue>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanProcessor for InheritIds {
    fn on_start(&self, span: &mut Span, _: &Context) {
        let Some(data) = span.exported_data() else { return };
        let mut ids: Vec<KeyValue> =
            data.attributes.into_iter().filter(|attribute| IDS.contains(&attribute.key.as_str())).collect();
        let mut open = self.open();
        for inherited in open.get(&data.parent_span_id).into_iter().flatten() {
            if ids.iter().all(|own| own.key != inherited.key) {
                span.set_attribute(inherited.clone());
                ids.push(inherited.clone());
            }
        }
        if !ids.is_empty() {
            open.insert(data.span_context.span_id(), ids);
        }
    }

    fn on_end(&self, span: SpanData) {
        self.open().remove(&span.span_context.span_id());
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Ended(std::sync::Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn a_part_has_the_ids_of_the_whole_and_its_own_go_first() {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(InheritIds::default())
            .with_span_processor(ended.clone())
            .build();
        let tracer = provider.tracer("test");
        let whole = [("container.id", "c-1"), ("waybill.worker.id", "w-1"), ("http.route", "/v1/builds")];
        let start = |name, attributes: &[(&'static str, &'static str)], within: &Context| {
            let attributes = attributes.iter().map(|(key, value)| KeyValue::new(*key, *value));
            let span = tracer.span_builder(name).with_attributes(attributes).start_with_context(&tracer, within);
            within.with_span(span)
        };
        let outer = start("outer", &whole, &Context::new());
        let part = start("part", &[("container.id", "c-2")], &outer);
        let inner = start("inner", &[], &part);
        [inner, part, outer].iter().for_each(|context| context.span().end());
        start("later", &[], &Context::new()).span().end();

        let spans = ended.0.lock().unwrap();
        let ids = |name: &str| {
            let span = spans.iter().find(|span| span.name == name).unwrap();
            let mut found: Vec<String> = span.attributes.iter().map(|id| format!("{}={}", id.key, id.value)).collect();
            found.sort();
            found
        };
        assert_eq!(ids("outer"), ["container.id=c-1", "http.route=/v1/builds", "waybill.worker.id=w-1"]);
        assert_eq!(ids("part"), ["container.id=c-2", "waybill.worker.id=w-1"]);
        assert_eq!(ids("inner"), ["container.id=c-2", "waybill.worker.id=w-1"]);
        assert!(ids("later").is_empty());
    }
}
