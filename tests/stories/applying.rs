//! A cluster's API with a memory: it applies as the real one does, as far as a field's manager goes.
#![expect(clippy::indexing_slicing, reason = "an object that lacks a member ends the test")]

use crate::support::https::{Script, json_answer};
use crate::support::kubernetes::{event, status};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// See the file's words.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) objects: Mutex<BTreeMap<String, Value>>,
    version: Mutex<u64>,
    /// Answers in place of the next ones that are no watch.
    pub(super) troubles: Mutex<VecDeque<(u16, Option<&'static str>, Value)>>,
    /// What the watch brings, before it ends.
    pub(super) watched: Mutex<VecDeque<String>>,
    pub(super) asked: Mutex<Vec<(Method, String, Value)>>,
    pub(super) said: Mutex<Vec<String>>,
    /// Versions of certificates.k8s.io that have the kind.
    pub(super) serves: Mutex<Vec<&'static str>>,
}

pub(super) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

impl Cluster {
    pub(super) fn put(&self, path: &str, mut object: Value) -> Value {
        let version = {
            let mut version = self.version.lock().unwrap();
            *version += 1;
            *version
        };
        merge(&mut object, &json!({ "metadata": { "resourceVersion": version.to_string() } }));
        self.objects.lock().unwrap().insert(path.to_owned(), object.clone());
        object
    }

    /// Somebody changes an object, as `kubectl edit` does.
    pub(super) fn edits(&self, path: &str, change: &Value) {
        let mut object = self.objects.lock().unwrap().get(path).cloned().unwrap();
        merge(&mut object, change);
        self.events("MODIFIED", &self.put(path, object));
    }

    pub(super) fn deletes(&self, path: &str) {
        let gone = self.objects.lock().unwrap().remove(path).unwrap();
        self.events("DELETED", &gone);
    }

    fn events(&self, kind: &str, object: &Value) {
        self.watched.lock().unwrap().push_back(event(kind, object));
    }

    fn apply(&self, path: &str, query: &str, body: &Value) -> Response<Full<Bytes>> {
        let found = self.objects.lock().unwrap().get(path).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if found
            .as_ref()
            .is_some_and(|found| !body["metadata"]["resourceVersion"].is_null() && version(found) != version(body))
        {
            return json_answer(409, &status(409, "the object has been modified"));
        }
        let applier = found.as_ref().and_then(|found| {
            let all = found["metadata"]["managedFields"].as_array()?;
            all.iter().find(|one| one["operation"] == "Apply" && one["manager"] != "lanyard").cloned()
        });
        if let Some(applier) = applier.filter(|_| !query.contains("force=true")) {
            let said = format!("Apply failed with 1 conflict: conflict with {}: .data.ca.crt", applier["manager"]);
            return json_answer(409, &status(409, &said));
        }
        let mut object = found.clone().unwrap_or(Value::Null);
        merge(&mut object, body);
        json_answer(if found.is_some() { 200 } else { 201 }, &self.put(path, object))
    }

    async fn watch(&self) -> Response<Full<Bytes>> {
        loop {
            let next = self.watched.lock().unwrap().pop_front();
            if let Some(event) = next {
                return Response::new(Full::new(event.into()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was applied, with what the API was told besides.
    pub(super) fn applied(&self) -> Vec<(String, Value)> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(method, ..)| method == Method::PATCH)
            .map(|(_, path, body)| (path.clone(), body.clone()))
            .collect()
    }
}

impl Script for Cluster {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
        let said = head.headers.get("authorization").map(|said| said.to_str().unwrap().to_owned());
        self.said.lock().unwrap().extend(said);
        if query.contains("watch=true") {
            let name = path.rsplit('/').next().unwrap();
            assert!(
                query.contains("fieldSelector=metadata.name%3D"),
                "no other object of {name} is asked for: {query}"
            );
            return self.watch().await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.asked.lock().unwrap().push((head.method.clone(), format!("{path}?{query}"), body.clone()));
        let trouble = self.troubles.lock().unwrap().pop_front();
        if let Some((code, wait, body)) = trouble {
            let mut answer = json_answer(code, &body);
            answer.headers_mut().extend(wait.map(|wait| (http::header::RETRY_AFTER, wait.parse().unwrap())));
            return answer;
        }
        if let Some(version) = path.strip_prefix("/apis/certificates.k8s.io/").filter(|rest| !rest.contains('/')) {
            let kinds = ["certificatesigningrequests", "clustertrustbundles"];
            let count = if self.serves.lock().unwrap().contains(&version) { 2 } else { 1 };
            let resources: Vec<_> = kinds.into_iter().take(count).map(|name| json!({ "name": name })).collect();
            return json_answer(200, &json!({ "kind": "APIResourceList", "resources": resources }));
        }
        if head.method == Method::PATCH {
            assert_eq!(head.headers.get("content-type").unwrap(), "application/apply-patch+yaml");
            return self.apply(&path, &query, &body);
        }
        let found = self.objects.lock().unwrap().get(&path).cloned();
        found.map_or_else(|| json_answer(404, &status(404, "not found")), |found| json_answer(200, &found))
    }
}
