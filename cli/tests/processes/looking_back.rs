//! Records as auditors look at them: with the program, from a run, from a file, from a database without any
//! server of ours.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::processes::site::{ASK, Site};
use sluice_tests::run;

/// Exit code, standard output, standard error of `sluice` with these arguments.
async fn sluice(site: &Site, args: &[&str], own: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(args).current_dir(site.folder.path()).env_clear();
    command.envs(site.environment()).env("SLUICE_URL", &site.api.url).envs(own.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// As an operator makes them.
fn checkpoint_keys(site: &Site) {
    for args in [
        &["genpkey", "-algorithm", "ed25519", "-out", "checkpoint.key"][..],
        &["pkey", "-in", "checkpoint.key", "-pubout", "-out", "checkpoint.pub"],
    ] {
        let done = Command::new("openssl").args(args).current_dir(site.folder.path()).output();
        assert!(done.unwrap().status.success(), "{args:?}");
    }
}

/// Until both runs are vouched for to their last events.
async fn wait_for_checkpoints(site: &Site) {
    let pool = site.pool().await;
    loop {
        let open: i64 = sqlx::query_scalar("select count(*) from checkpoints_due")
            .fetch_one(&pool)
            .await
            .unwrap();
        if open == 0 {
            return pool.close().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_record_is_checked_from_a_run_a_file_and_a_database() {
    run(async {
        let mut site = Site::shared("looking-back").await;
        site.template("ask", ASK);
        site.agents("agents: {}\n");
        checkpoint_keys(&site);
        let own = [
            ("SLUICE_CHECKPOINT_KEY_FILE", "checkpoint.key".to_owned()),
            ("SLUICE_CHECKPOINT_SINK", "checkpoints.ndjson".to_owned()),
            ("SLUICE_CHECKPOINT_INTERVAL", "500ms".to_owned()),
        ];
        let mut coordinator = site.start_with("coordinator", &["coordinator"], &own);
        coordinator.says("coordinator is ready").await;
        let gateway = site.gateway().await;
        for id in ["ask-1", "ask-2"] {
            site.api.begin("ask", id).await;
            site.api.wait_for(id, "paused", Duration::from_secs(30)).await;
        }
        let (code, out, err) = sluice(&site, &["verify", "ask-1"], &[]).await;
        assert!(code == 0 && out.starts_with("✓ ask-1: "), "{out}{err}");
        let (code, out, _) = sluice(&site, &["verify", "ask-1", "-o", "json"], &[]).await;
        let verdict: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (code, &verdict["valid"], &verdict["signatures_checked"]),
            (0, &json!(true), &json!(true))
        );
        let (code, _, err) = sluice(&site, &["verify", "nobody"], &[]).await;
        assert!(code == 1 && err.contains("no workflow 'nobody'"), "{err}");

        let (code, out, err) = sluice(&site, &["export", "ask-1"], &[]).await;
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (0, "✓ Audit report saved: audit_report_ask-1.json\n", "")
        );
        let (_, out, _) =
            sluice(&site, &["events", "ask-1", "--action", "PAUSE_WORKFLOW"], &[]).await;
        let page: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(page["total_events"], 1);
        let (code, out, _) =
            sluice(&site, &["annotate", "ask-1", "seen", "--operator", "alice"], &[]).await;
        assert!(code == 0 && out.contains("\"operator\": \"alice\""), "{out}");
        let (code, out, _) = sluice(&site, &["replay", "ask-1", "-o", "text"], &[]).await;
        assert!(code == 0 && out.contains("lead to paused"), "{out}");
        let (code, out, _) = sluice(&site, &["state-at", "ask-1", "1"], &[]).await;
        assert!(code == 0 && out.contains("\"sequence\": 1"), "{out}");
        let (code, out, _) = sluice(&site, &["diff", "ask-1", "0", "1"], &[]).await;
        assert!(code == 0 && out.contains("+ /status: \"running\""), "{out}");
        site.api.delete("/workflow/ask-2").await.unwrap();
        let (code, out, err) =
            sluice(&site, &["events", "ask-2", "--follow", "-o", "text"], &[]).await;
        assert!(code == 0 && out.contains("complete_workflow"), "{out}{err}");
        wait_for_checkpoints(&site).await;
        let auditor = ["--checkpoints", "checkpoints.ndjson", "--public-key", "checkpoint.pub"];
        let args = [&["verify", "ask-1"], &auditor[..]].concat();
        let (code, out, err) = sluice(&site, &args, &[]).await;
        assert!(code == 0 && out.contains("checkpoints vouch for events 1 to"), "{out}{err}");
        drop((coordinator, gateway));

        // From here on there is no server of ours.
        let file = "audit_report_ask-1.json";
        let (code, out, err) = sluice(&site, &["verify", file], &[]).await;
        assert!(code == 0 && out.starts_with("✓ ask-1: "), "{out}{err}");
        let other = [("SLUICE_EVENT_SECRET", "another secret of the tests of processes")];
        let (code, out, _) = sluice(&site, &["verify", file], &other).await;
        assert!(code == 1 && out.contains("wrong key, field key_id"), "{out}");
        let retired =
            [other[0], ("SLUICE_RETIRED_EVENT_SECRETS", sluice_tests::processes::site::SECRET)];
        assert_eq!(sluice(&site, &["verify", file], &retired).await.0, 0);
        let (code, _, err) = sluice(&site, &["verify", file], &[("SLUICE_EVENT_SECRET", "")]).await;
        assert!(code == 2 && err.contains("SLUICE_EVENT_SECRET"), "{err}");

        let path = site.folder.path().join(file);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.replace("tech_lead", "intern")).unwrap();
        let (code, out, err) = sluice(&site, &["verify", file], &[]).await;
        assert!(
            code == 1 && out.contains("TAMPERED") && out.contains("changed, field body"),
            "{out}"
        );
        assert!(err.contains("the record of ask-1 is not what was written"), "{err}");
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(sluice(&site, &["verify", file], &[]).await.0, 1);

        let (code, out, err) = sluice(&site, &["verify", "--database"], &[]).await;
        assert!(code == 0 && out.contains("✓ ask-1: ") && out.contains("✓ ask-2: "), "{out}{err}");
        // An auditor has no secret, and needs none.
        let no_secret = [("SLUICE_EVENT_SECRET", "")];
        let args = [&["verify", "--database", &site.database_url], &auditor[..]].concat();
        let (code, out, err) = sluice(&site, &args, &no_secret).await;
        assert!(code == 0 && out.contains("signatures were not looked at"), "{out}{err}");
        let pool = site.pool().await;
        for statement in [
            "alter table events disable trigger user",
            "create table gone as select * from events where workflow_id = 'ask-2'",
            "delete from events where workflow_id = 'ask-2'",
            "delete from approvals where workflow_id = 'ask-2'",
            "delete from runs where workflow_id = 'ask-2'",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        let (code, out, _) = sluice(&site, &args, &no_secret).await;
        assert!(
            code == 1 && out.contains("✗ ask-2: ") && out.contains("event 1: truncated"),
            "{out}"
        );
        let lines = site.folder.path().join("checkpoints.ndjson");
        let text = std::fs::read_to_string(&lines).unwrap();
        std::fs::write(&lines, text.replacen("\"sequence\":", "\"sequence\":1", 1)).unwrap();
        let (code, _, err) = sluice(&site, &args, &no_secret).await;
        assert!(code == 1 && err.contains("line 1 was not signed"), "{err}");
        for statement in [
            "insert into events select * from gone",
            "insert into runs (workflow_id, started_month, template_name, template_sha256, status, sequence, last_hash,
                               started_at, updated_at)
             select 'ask-2', started_month, 'ask.workflow.yaml', 'x', 'cancelled', sequence, sha256(body), now(), now()
               from gone order by sequence desc limit 1",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        for statement in [
            "alter table events disable trigger user",
            "delete from events where workflow_id = 'ask-1' and sequence = 2",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        let (code, out, err) =
            sluice(&site, &["verify", "--database", &site.database_url], &[]).await;
        assert!(
            code == 1 && out.contains("event 2: removed") && out.contains("✓ ask-2: "),
            "{out}"
        );
        assert!(err.contains("ask-1"), "{err}");
        let (code, out, _) = sluice(&site, &["verify", "ask-2", "--database"], &[]).await;
        assert!(code == 0 && !out.contains("ask-1"), "{out}");
        let (code, _, err) = sluice(&site, &["verify", "nobody", "--database"], &[]).await;
        assert!(code == 1 && err.contains("no run 'nobody'"), "{err}");
        pool.close().await;
    });
}
