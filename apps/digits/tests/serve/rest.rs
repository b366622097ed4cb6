//! TensorFlow Serving's REST API.

use std::io::BufReader;
use std::thread;

use serde_json::json;

use crate::bench::{Answer, Server, assert_close, image, images, instances, send};

#[test]
fn status_and_metadata() {
    let server = Server::start("");
    let status = json!({"model_version_status": [{
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }]});
    assert_eq!(server.get("/v1/models/digits").json(), status);
    assert_eq!(server.get("/v1/models/digits/versions/1").json(), status);
    let metadata = server.get("/v1/models/digits/metadata").json();
    let read = &metadata["metadata"]["signature_def"]["signature_def"]["read"];
    assert_eq!(read["inputs"]["image_bytes"]["dtype"], "DT_STRING");
    assert_eq!(
        metadata["model_spec"],
        json!({"name": "digits", "signature_name": "", "version": "1"})
    );
    let dim = |size: &str| json!({"size": size, "name": ""});
    assert_eq!(
        metadata["metadata"]["signature_def"]["signature_def"]["serving_default"],
        json!({
            "inputs": {"images": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [dim("-1"), dim("28"), dim("28"), dim("1")],
                    "unknown_rank": false,
                },
                "name": "serving_default_images:0",
            }},
            "outputs": {"probabilities": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [dim("-1"), dim("10")], "unknown_rank": false},
                "name": "StatefulPartitionedCall:0",
            }},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        })
    );
}

#[test]
fn every_form_of_a_batch_gives_the_same_rows() {
    let server = Server::start("");
    let images = images(5);
    let rows = server.predict(&instances(&images)).rows("predictions");
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-5));
    assert!(rows[0] != rows[1]);
    let list = images.join(",");
    let named: Vec<String> =
        images.iter().map(|image| format!("{{\"images\": {image}}}")).collect();
    for (body, key) in [
        (instances(&named), "predictions"),
        (format!("{{\"inputs\": [{list}]}}"), "outputs"),
        (format!("{{\"inputs\": {{\"images\": [{list}]}}}}"), "outputs"),
        (
            format!("{{\"instances\": [{list}], \"signature_name\": \"serving_default\"}}"),
            "predictions",
        ),
    ] {
        for path in ["/v1/models/digits:predict", "/v1/models/digits/versions/1:predict"] {
            let other = server.post(path, body.as_bytes()).rows(key);
            for (one, other) in rows.iter().zip(&other) {
                assert_close(one, other);
            }
        }
    }
    for (i, image) in images.iter().enumerate() {
        let alone = server.predict(&instances(std::slice::from_ref(image))).rows("predictions");
        assert_close(&alone[0], &rows[i]);
    }
    assert_eq!(server.predict("{\"inputs\": []}").text(), "{\"outputs\": []}");
}

#[test]
fn numbers_that_json_lacks_are_taken_and_given() {
    let server = Server::start("");
    let image = image(0).replacen("0.0", "NaN", 1).replacen("0.0", "-Infinity", 1);
    let answer = server.predict(&instances(&[image]));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text().matches("NaN").count(), 10, "{}", answer.text());
}

#[test]
fn errors_have_the_originals_form() {
    let server = Server::start("--max-instances 8");
    let one = instances(&images(1));
    for (method, path, body, status, message) in [
        ("GET", "/v1/foo", "", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/models", "", 400, "Malformed request: POST /v1/models"),
        ("DELETE", "/v1/models/digits", "", 400, "Malformed request: DELETE /v1/models/digits"),
        ("GET", "/v1/models", "", 400, "Missing model name in request."),
        ("GET", "/v1/models/half", "", 404, "Could not find any versions of model half"),
        (
            "GET",
            "/v1/models/digits/versions/9",
            "",
            404,
            "Could not find version 9 of model digits",
        ),
        (
            "GET",
            "/v1/models/digits/labels/stable",
            "",
            400,
            "Unrecognized servable version label: stable",
        ),
        (
            "GET",
            "/v1/models/half/metadata",
            "",
            404,
            "Servable not found for request: Latest(half)",
        ),
        (
            "POST",
            "/v1/models/half:predict",
            &one,
            404,
            "Servable not found for request: Latest(half)",
        ),
        (
            "POST",
            "/v1/models/digits/versions/2:predict",
            &one,
            404,
            "Servable not found for request: Specific(digits, 2)",
        ),
        (
            "POST",
            "/v1/models/digits:classify",
            &one,
            400,
            "Expected classification signature method_name to be tensorflow/serving/classify. Was: \
             tensorflow/serving/predict",
        ),
        ("GET", "/nowhere", "", 404, "Nothing is at /nowhere"),
        ("POST", "/healthz", "", 405, "/healthz does not take POST"),
    ] {
        let answer = server.ask(method, path, "", body.as_bytes());
        assert_eq!((answer.status, answer.error().as_str()), (status, message), "{method} {path}");
    }
    for (body, message) in [
        ("", "JSON Parse error: The document is empty"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ("{\"signature_name\": \"x\"}", "Serving signature name: \"x\" not found in signature def"),
        (
            "{\"instances\": [1, \"a\"]}",
            "an instance of input images has shape []; the model takes [28,28,1]",
        ),
    ] {
        let answer = server.predict(body);
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains(message), "{}", answer.error());
    }
    assert!(server.predict(&instances(&images(9))).error().contains("the most is 8"));
    assert_eq!(server.answered("predict", 400), 7.0);
    assert_eq!(server.metric("digits_errors_total{endpoint=\"predict\",status=\"400\"}"), 7.0);
}

#[test]
fn long_bodies_and_connections_that_stay_open() {
    let server = Server::start("");
    let images = images(300);
    let body = instances(&images);
    let mut stream = BufReader::new(server.connect());
    for _ in 0..3 {
        send(stream.get_mut(), "POST", "/v1/models/digits:predict", "", body.as_bytes());
        let rows = Answer::read(&mut stream, false).rows("predictions");
        assert_eq!(rows.len(), 300);
        let last = server.predict(&instances(&images[299..])).rows("predictions");
        assert_close(&rows[299], &last[0]);
    }
}

#[test]
fn requests_that_come_together_are_answered_each_with_its_own() {
    let server = Server::start("--quiet");
    let images = images(40);
    let alone: Vec<Vec<f64>> = images
        .iter()
        .map(|image| {
            server.predict(&instances(std::slice::from_ref(image))).rows("predictions").remove(0)
        })
        .collect();
    thread::scope(|scope| {
        for thread in 0..20 {
            let (server, images, alone) = (&server, &images, &alone);
            scope.spawn(move || {
                for round in 0..20 {
                    let from = (thread * 7 + round * 3) % 36;
                    let count = 1 + (thread + round) % 4;
                    let body = instances(&images[from..from + count]);
                    let rows = server.predict(&body).rows("predictions");
                    assert_eq!(rows.len(), count);
                    for (row, alone) in rows.iter().zip(&alone[from..]) {
                        assert_close(row, alone);
                    }
                }
            });
        }
    });
    assert_eq!(server.metric("digits_batch_images_sum"), 40.0 + 1000.0);
    assert_eq!(server.metric("digits_queue_images"), 0.0);
    assert!(server.log().is_empty(), "{:?}", server.log());
}
