//! What a Gerrit, or whatever stands in its place, may answer and must not be believed.

use crate::asking::{Asking, SECRET, claims, said};
use crate::gerrit::{BOB, OWNER, SERVER_EMAIL, amended, asking, change, commit, configured, prefixed, serve, sha};
use crate::scripted::{Reply, Scripted};
use serde_json::{Value, json};
use std::sync::Arc;

const LABELS: [(&str, i32); 1] = [("Code-Review", 2)];

async fn status_of(asking: &Asking, commit: &str) -> (String, String) {
    let claims = claims(&[("sha", json!(commit))]);
    let heard = asking.heard("\"gerrit.status\" = \"merged\"", &claims).await;
    (said(heard.of("gerrit.status")), said(heard.of("gerrit.missing")))
}

#[tokio::test]
async fn an_open_change_is_approved_by_what_somebody_else_gave_this_patch_set_and_by_nothing_less() {
    let good = || change(1, "c", "NEW", &[(BOB, 2)]);
    let with = |place: &str, value: Value| {
        let mut change = good();
        let (parent, key) = place.rsplit_once('/').unwrap();
        change.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
        change
    };
    let without = |place: &str| {
        let mut change = good();
        let (parent, key) = place.rsplit_once('/').unwrap();
        change.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        change
    };
    let revision = format!("/revisions/{}", sha("c"));
    let earlier = json!({"_number": 0, "created": "2026-11-02 07:00:00.000000000", "uploader": {"_account_id": BOB}});
    let requirement = |status: &str| json!([{"name": "Ready", "status": status}]);
    for (change, status, missing) in [
        (good(), "approved", "not asked"),
        (with("/work_in_progress", json!(true)), "new", "work in progress"),
        (without("/labels/Code-Review/all"), "new", "no votes that Gerrit tells"),
        (without("/labels/Code-Review"), "new", "no votes that Gerrit tells"),
        (with("/owner/_account_id", json!(BOB)), "new", "its uploaders"),
        (with(&format!("{revision}/uploader"), json!({"_account_id": BOB})), "new", "its uploaders"),
        (with(&format!("{revision}/real_uploader"), json!({"_account_id": BOB})), "new", "its uploaders"),
        (with("/revisions/old", earlier), "new", "its uploaders"),
        (with(&format!("{revision}/created"), json!("2026-11-02 09:00:01.000000000")), "new", "for this patch set"),
        (with("/submit_requirements", requirement("NOT_APPLICABLE")), "approved", "not asked"),
        (with("/submit_requirements", requirement("OVERRIDDEN")), "approved", "not asked"),
        (with("/submit_requirements", requirement("UNSATISFIED")), "new", "Ready is UNSATISFIED"),
        (with("/submit_requirements", requirement("ERROR")), "new", "Ready is ERROR"),
        (with("/submit_requirements", requirement("OF_TOMORROW")), "new", "Ready is OF_TOMORROW"),
        (without("/submit_requirements"), "new", "does not tell its submit requirements"),
    ] {
        let gerrit = serve(vec![change.clone()], Vec::new());
        let (got, lacks) = status_of(&asking(&gerrit.url, &LABELS), &sha("c")).await;
        assert!(got == status && lacks.contains(missing), "{got}, {lacks}: {change:#}");
    }
    let gerrit = serve(vec![good()], Vec::new());
    let two = [("Code-Review", 2), ("Verified", 1)];
    let (got, lacks) = status_of(&asking(&gerrit.url, &two), &sha("c")).await;
    assert!(got == "new" && lacks.contains("Verified has no votes"), "{got}, {lacks}");
    let vetoed_elsewhere =
        with("/labels/Legal", json!({"all": [{"_account_id": OWNER, "value": -1}], "values": {"-1": "", "+1": ""}}));
    let gerrit = serve(vec![vetoed_elsewhere], Vec::new());
    let (got, lacks) = status_of(&asking(&gerrit.url, &LABELS), &sha("c")).await;
    assert!(got == "new" && lacks.contains("Legal is vetoed"), "{got}, {lacks}");
}

#[tokio::test]
async fn changes_that_are_not_the_one_say_no_and_why() {
    let elsewhere = |key: &str, value: &str| {
        let mut change = change(1, "c", "MERGED", &[(BOB, 2)]);
        change[key] = json!(value);
        change
    };
    let merged = || change(1, "c", "MERGED", &[(BOB, 2)]);
    let mut forced = merged();
    forced["submit_requirements"] = json!([{"name": "Code-Review", "status": "FORCED"}]);
    let unmet = change(1, "c", "MERGED", &[]);
    let mut untold_but_voted = merged();
    untold_but_voted["submit_requirements"] = json!([]);
    let mut untold_and_not_voted = merged();
    untold_and_not_voted["submit_requirements"] = Value::Null;
    untold_and_not_voted["labels"]["Code-Review"] = json!({});
    let mut cut = merged();
    cut["_more_changes"] = json!(true);
    let mut untold = merged();
    untold["revisions"] = json!({sha("c"): {"_number": 1, "created": "", "uploader": {"_account_id": 1}}});
    untold["current_revision"] = Value::Null;
    let mut branch = vec![elsewhere("branch", "stable"), elsewhere("project", "acme/other")];
    branch.push(merged());
    for (changes, expected) in [
        (branch, "merged"),
        (vec![elsewhere("branch", "stable")], "no: gerrit_no_change"),
        (vec![elsewhere("project", "acme/other")], "no: gerrit_no_change"),
        (vec![merged(), change(2, "c", "NEW", &[])], "no: the commit is in several changes of that branch: 1, 2"),
        (vec![elsewhere("status", "DRAFT")], "no: change 1 has the unknown status DRAFT"),
        (vec![unmet], "no: change 1 is merged, but submit requirement Code-Review is UNSATISFIED"),
        (vec![untold_but_voted], "merged"),
        (vec![untold_and_not_voted], "no: change 1 is merged, but Code-Review has no votes"),
        (vec![forced], "no: change 1 was pushed past its submit requirement Code-Review"),
        (vec![cut], "no: Gerrit knows more changes"),
        (vec![untold], "no: Gerrit does not tell the patch sets of change 1"),
        (vec![amended(merged(), "d")], "no: the commit is patch set 1 of change 1, whose current one is 2"),
    ] {
        let gerrit = serve(changes, vec![commit("c", "ada@corp.example", 1, &["base"])]);
        let (got, _) = status_of(&asking(&gerrit.url, &LABELS), &sha("c")).await;
        assert!(got.starts_with(expected), "{got}, not {expected}");
    }
}

#[tokio::test]
async fn a_merge_counts_if_gerrit_made_it_and_all_that_it_brought_in_was_merged() {
    let (ours, theirs) = (SERVER_EMAIL, "ada@corp.example");
    let merge = |email: &str, parents: &[&str]| commit("m", email, 9, parents);
    let rest = || {
        vec![
            commit("a", theirs, 5, &["base"]),
            commit("y", theirs, 6, &["x"]),
            commit("x", theirs, 4, &["base"]),
            commit("base", theirs, 1, &[]),
        ]
    };
    let merged = |name: &str| change(u64::from(name.as_bytes()[0]), name, "MERGED", &[(BOB, 2)]);
    for (merge, changes, expected) in [
        (merge(ours, &["a", "y"]), vec![merged("x"), merged("y")], "merged"),
        (merge(theirs, &["a", "y"]), vec![merged("x"), merged("y")], "no: gerrit_no_change: no change has this merge"),
        (merge(ours, &["a", "y"]), vec![merged("y")], "no: gerrit_no_change: the merge brought in 78"),
        (
            merge(ours, &["a", "y"]),
            vec![merged("x"), change(1, "y", "NEW", &[(BOB, 2)])],
            "no: the merge brought in change 1, which is approved",
        ),
        (merge(ours, &["a", "y"]), vec![merged("x"), amended(merged("y"), "z")], "no: the merge brought in 79"),
        (merge(ours, &["a", "base"]), vec![], "no: gerrit_no_change: the merge brought in nothing"),
        (
            merge(ours, &["a", "x", "y"]),
            vec![merged("x"), merged("y")],
            "no: gerrit_no_change: no change of the branch",
        ),
    ] {
        let commits = [vec![merge], rest()].concat();
        let gerrit = serve(changes, commits);
        let (got, _) = status_of(&asking(&gerrit.url, &LABELS), &sha("m")).await;
        assert!(got.starts_with(expected), "{got}, not {expected}");
    }
    let commits = [vec![merge(ours, &["a", "y"])], rest()].concat();
    let gerrit = serve(vec![merged("x"), merged("y")], commits);
    let unnamed = Asking::of(|file| {
        let mut settings = configured(&gerrit.url, &LABELS, file);
        settings.server_email = None;
        Arc::new(settings)
    });
    assert!(status_of(&unnamed, &sha("m")).await.0.contains("server_email does not say"));
    let gerrit =
        serve(vec![merged("x"), merged("y")], [vec![commit("elsewhere", ours, 9, &["a", "y"])], rest()].concat());
    let (got, _) = status_of(&asking(&gerrit.url, &LABELS), &sha("elsewhere")).await;
    assert!(got.starts_with("no: gerrit_no_change: the merge is not in main"), "{got}");
}

#[tokio::test]
async fn one_question_takes_so_many_requests_and_no_more() {
    let names: Vec<String> = (0..60).map(|step| format!("o{step}")).collect();
    let line = |(at, name): (usize, &String)| {
        let parent = names.get(at + 1).map_or("base", String::as_str);
        commit(name, "ada@corp.example", 28 - u32::try_from(at / 3).unwrap(), &[parent])
    };
    let mut commits: Vec<Value> = names.iter().enumerate().map(line).collect();
    commits.push(commit("m", SERVER_EMAIL, 29, &["o0", "y"]));
    commits.extend([commit("y", "ada@corp.example", 2, &["base"]), commit("base", "ada@corp.example", 1, &[])]);
    let gerrit = serve(Vec::new(), commits);
    let (got, _) = status_of(&asking(&gerrit.url, &LABELS), &sha("m")).await;
    assert_eq!(got, "unavailable: it takes more than 48 requests to say");
    assert_eq!(gerrit.asked().len(), 48);
}

#[tokio::test]
async fn what_is_no_gerrit_is_no_answer() {
    let elsewhere = Scripted::new(|_, _| Reply::of("200 OK", "stolen"));
    let target = format!("Location: {}/", elsewhere.url);
    let json = || change(1, "c", "MERGED", &[(BOB, 2)]).to_string();
    let answers: [(Reply, &str); 8] = [
        (Reply::of("401 Unauthorized", "Unauthorized"), "HTTP password"),
        (Reply::of("200 OK", "<html>sign in</html>"), "is it a login page?"),
        (Reply::of("200 OK", format!("[{}]", json())), "is it a login page?"),
        (prefixed(&json!({"changes": []})), "no list of changes"),
        (Reply::of("200 OK", ")]}'\n[{\"_number\": 1}]"), "no list of changes"),
        (Reply::of("302 Found", "").with(&target), "302"),
        (Reply::of("404 Not Found", "Not found"), "404"),
        (Reply::of("503 Busy", "").with("Retry-After: 30"), "503"),
    ];
    for (reply, told) in answers {
        let mut reply = Some(reply);
        let gerrit = Scripted::new(move |_, _| reply.take().unwrap());
        let (got, _) = status_of(&asking(&gerrit.url, &LABELS), &sha("c")).await;
        assert!(got.starts_with("unavailable: ") && got.contains(told) && !got.contains(SECRET), "{got}, not {told}");
    }
    assert_eq!(elsewhere.asked().len(), 0, "nothing goes where it is sent");
    for changes in [[("sha", json!("main"))], [("sha", Value::Null)], [("project_id", json!(7))]] {
        let gerrit = serve(Vec::new(), Vec::new());
        let heard = asking(&gerrit.url, &LABELS).heard("\"gerrit.status\" = \"merged\"", &claims(&changes)).await;
        assert!(
            said(heard.of("gerrit.status")).starts_with("no: ") && gerrit.asked().is_empty(),
            "{changes:?}: {heard:?}"
        );
    }
}
