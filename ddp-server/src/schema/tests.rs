use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::typed;
use crate::extract::{Connection, Invocation, Params, State, Subscription, UserId};
use crate::live_query::AnyCursor;
use crate::{Collection, Cursor, Error, MemoryCollection, Plugged, Plugin, PluginBuilder};
use crate::{Server, WriteFence};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Task {
    list_id: String,
    place: Place,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Box<Self>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Place {
    row: u32,
}

const TASKS: Collection<Task> = Collection::new("tasks");

fn method(describe: impl FnOnce(crate::ServerBuilder<()>) -> crate::ServerBuilder<()>) -> Value {
    describe(Server::builder()).build().describe()["methods"]["m"].take()
}

#[test]
fn the_fields_of_a_struct_are_the_arguments() {
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its shape is of interest")]
    struct Move {
        #[serde(alias = "id")]
        task_id: String,
        to: Place,
        before: Option<Place>,
        anything: Value,
    }
    let described = method(|server| {
        let run = async |_: Invocation, Params(_): Params<Move>, _: WriteFence| Ok::<_, Error>(());
        server.method("m", typed(run))
    });
    let place = json!({"Place": {
        "type": "object",
        "properties": {"row": {"type": "integer", "format": "uint32", "minimum": 0}},
        "required": ["row"],
    }});
    assert_eq!(
        described,
        json!({
            "params": [
                {"name": "taskId", "schema": {"type": "string"}, "required": true},
                {
                    "name": "to",
                    "schema": {"$ref": "#/$defs/Place", "$defs": place},
                    "required": true,
                },
                {
                    "name": "before",
                    "schema": {
                        "anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}],
                        "$defs": place,
                    },
                    "required": false,
                },
                {"name": "anything"},
            ],
            "result": {"type": "null"},
        })
    );
}

#[test]
fn a_tuple_has_a_schema_for_each_element_with_names_and_without() {
    async fn run(Params(_): Params<(String, Vec<bool>, Option<i8>)>) -> Result<u8, Error> {
        Ok(1)
    }
    let schemas = [
        json!({"type": "string"}),
        json!({"type": "array", "items": {"type": "boolean"}}),
        json!({"type": ["integer", "null"], "format": "int8", "minimum": -128, "maximum": 127}),
    ];
    let described = method(|server| server.method("m", typed(run)));
    let param = |index: usize| json!({"schema": schemas[index], "required": index < 2});
    assert_eq!(described["params"], json!([param(0), param(1), param(2)]));
    assert_eq!(described["result"]["maximum"], 255);

    let named = method(|server| server.method("m", typed(run)).params(["a", "b", "c"]));
    let param = |index: usize, name: &str| json!({"name": name, "schema": schemas[index], "required": index < 2});
    assert_eq!(named["params"], json!([param(0, "a"), param(1, "b"), param(2, "c")]));

    let plain = method(|server| server.method("m", run).params(["a", "b", "c"]));
    assert_eq!(plain, json!({"params": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}));
}

#[test]
fn a_schema_stands_alone_even_if_its_type_names_itself() {
    let described = method(|server| {
        server.method("m", typed(async |Params((task,)): Params<(Task,)>| Ok::<_, Error>(task)))
    });
    for schema in [&described["params"][0]["schema"], &described["result"]] {
        assert_eq!(schema["$ref"], "#/$defs/Task");
        let definitions = schema["$defs"].as_object().unwrap();
        assert_eq!(definitions.keys().collect::<Vec<_>>(), ["Task", "Place"]);
        let parent = &definitions["Task"]["properties"]["parent"];
        assert_eq!(parent["anyOf"][0]["$ref"], "#/$defs/Task");
    }
    // By serde's rules: for reading, and for writing.
    assert_eq!(described["result"]["$defs"]["Task"]["required"], json!(["listId", "place"]));
}

#[test]
fn the_types_of_ejson_have_schemas() {
    use ddp_core::ejson::{Date, Ejson};

    let described = method(|server| {
        let run = async |_: Params<(Date, Ejson)>| Ok::<_, Error>(None::<Date>);
        server.method("m", typed(run))
    });
    let date = &described["params"][0]["schema"];
    assert_eq!(date["$ref"], "#/$defs/Date");
    assert_eq!(date["$defs"]["Date"]["required"], json!(["$date"]));
    assert_eq!(described["params"][1], json!({}));
    assert_eq!(described["result"]["anyOf"][0]["$ref"], "#/$defs/Date");
}

#[test]
fn names_that_need_escapes_lose_no_definition() {
    #[derive(Deserialize, JsonSchema)]
    #[schemars(rename = "a place")]
    #[expect(dead_code, reason = "only its shape is of interest")]
    struct Spaced {
        inner: Place,
    }
    let described =
        method(|server| server.method("m", typed(async |_: Params<(Spaced,)>| Ok::<_, Error>(()))));
    let schema = &described["params"][0]["schema"];
    assert_eq!(schema["$ref"], "#/$defs/a%20place");
    let definitions = schema["$defs"].as_object().unwrap();
    assert_eq!(definitions.keys().collect::<Vec<_>>(), ["a place", "Place"]);
}

#[test]
fn publications_tell_their_documents() {
    type Tasks = MemoryCollection<Task>;
    let server = Server::builder()
        .publish("one", typed(async |State(tasks): State<Tasks>, _: Connection| tasks.find()))
        .publish(
            "two",
            typed(async |State(tasks): State<Tasks>, Params((_,)): Params<(String,)>| {
                Ok::<(Cursor<Task>, Cursor<Task>), Error>((tasks.find(), tasks.find()))
            }),
        )
        .params(["listId"])
        .publish("hand", typed(async |_: Subscription, _: Option<UserId>, _: Server| ()))
        .publish("any", typed(async |_: UserId| None::<Vec<AnyCursor>>))
        .with_state(MemoryCollection::new(&TASKS));
    let described = server.describe();
    let publication = |name: &str| &described["publications"][name];
    assert_eq!(publication("one")["params"], json!([]));
    assert_eq!(publication("one")["documents"].as_array().unwrap().len(), 1);
    assert_eq!(publication("one")["documents"][0]["$ref"], "#/$defs/Task");
    assert_eq!(publication("two")["params"][0]["name"], "listId");
    assert_eq!(publication("two")["documents"].as_array().unwrap().len(), 2);
    assert_eq!(publication("hand"), &json!({"params": []}));
    assert_eq!(publication("any"), &json!({"params": []}));
}

#[test]
fn a_plugin_and_a_running_server_tell_types_too() {
    struct Adds;
    impl Plugin for Adds {
        type State = ();

        fn define(self, plugin: PluginBuilder<()>) -> Plugged {
            let add = async |Params((a, b)): Params<(i8, i8)>| Ok::<_, Error>(a + b);
            plugin.method("m", typed(add)).params(["a", "b"]).build()
        }
    }
    assert_eq!(method(|server| server.plugin(Adds))["params"][1]["schema"]["minimum"], -128);

    let server = Server::builder().build();
    server.publish("late", typed(async |_: Params<(bool,)>, _: Subscription| ()), ());
    let late = &server.describe()["publications"]["late"];
    assert_eq!(late["params"], json!([{"schema": {"type": "boolean"}, "required": true}]));
}

#[tokio::test]
async fn a_typed_handler_is_called_as_any_other() {
    let divide = async |Params((a, b)): Params<(f64, Option<f64>)>| {
        let by = b.ok_or_else(|| Error::client("no-divisor", "By what?"))?;
        Ok::<_, Error>(a / by)
    };
    let server = Server::builder().method("divide", typed(divide)).build();
    assert_eq!(server.call::<f64>("divide", (6, 3)).await.unwrap(), 2.0);
    let error = server.call::<f64>("divide", (6,)).await.unwrap_err();
    assert_eq!(error.reason(), Some("By what?"));
    let error = server.call::<f64>("divide", ("six",)).await.unwrap_err();
    assert_eq!(error.code(), Some(&400.into()));
}
