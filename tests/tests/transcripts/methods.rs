//! The methods of the transcripts.

use ddp_core::ejson::{Date, Ejson};
use ddp_server::extract::{Invocation, Params};
use ddp_server::{Error, IntoMethodResult, State};

use crate::steps::Step;
use crate::world::World;

/// The result of the method `script`: a value, or `undefined`.
pub(crate) struct Answer(Result<Option<Ejson>, Error>);

impl IntoMethodResult for Answer {
    fn into_method_result(self) -> Result<Option<String>, Error> {
        Ok(self.0?.map(|value| value.to_text()))
    }
}

/// Does what its parameters say, step by step.
pub(crate) async fn script(
    State(world): State<World>,
    invocation: Invocation,
    Params(steps): Params<Vec<Ejson>>,
) -> Answer {
    Answer(run(&world, &invocation, &steps).await)
}

async fn run(
    world: &World,
    invocation: &Invocation,
    steps: &[Ejson],
) -> Result<Option<Ejson>, Error> {
    let mut results = Vec::new();
    for step in steps {
        let step = Step::new(step);
        match step.verb {
            "return" => return Ok(Some(step.arg(0).clone())),
            "results" => return Ok(Some(Ejson::Array(results))),
            "undefined" => return Ok(None),
            "nestedUndefined" => {
                let list = Ejson::array([Ejson::Null, Ejson::Number(1.0)]);
                return Ok(Some(Ejson::object([("b", list)])));
            }
            "throw" => return Err(step.error()),
            "fail" => return Err(step.failure()),
            "throwValue" => return Err(Error::internal(step.arg(0).to_text())),
            "sanitized" => return Err(Step { verb: step.verb, args: &step.args[1..] }.error()),
            "call" => {
                let (method, params) = (step.text(0), &step.args[1..]);
                results.push(Box::pin(invocation.call::<Ejson>(method, params)).await?);
            }
            "tryCall" => {
                let (method, params) = (step.text(0), &step.args[1..]);
                let result = Box::pin(invocation.call::<Ejson>(method, params)).await;
                results.push(result.unwrap_or_else(|error| error.to_string().into()));
            }
            "setUserId" => invocation.set_user_id(step.arg(0).as_str()).await?,
            "trySetUserId" => {
                let set = invocation.set_user_id(step.arg(0).as_str()).await;
                results.push(if set.is_ok() { "set" } else { "refused" }.into());
            }
            _ => results.extend(simple(world, invocation, &step).await),
        }
    }
    Ok(None)
}

/// The steps that always succeed; some of them have a result.
async fn simple(world: &World, invocation: &Invocation, step: &Step<'_>) -> Option<Ejson> {
    let connection = invocation.connection().expect("a client is behind every call");
    match step.verb {
        "unblock" => invocation.unblock(),
        "gate" => world.wait(step.text(0)).await,
        "open" => world.open(step.text(0)),
        "userId" => {
            let user = invocation.user_id();
            return Some(user.as_ref().map(|user| user.as_str()).into());
        }
        "connectionId" => return Some(connection.id().into()),
        "randomId" => return Some(invocation.random_id(step.text(0)).into()),
        "close" => connection.close(),
        "set" => world.set(step.text(0), step.text(1), step.arg(2)),
        "remove" => assert!(world.collection(step.text(0)).remove(step.text(1))),
        "hold" => {
            let (world, gate) = (world.clone(), step.text(0).to_owned());
            let write = invocation.fence().begin_write();
            tokio::spawn(async move {
                world.wait(&gate).await;
                drop(write);
            });
        }
        verb => panic!("there is no step {verb}"),
    }
    None
}

/// Returns its parameters.
pub(crate) async fn echo(Params(params): Params<Vec<Ejson>>) -> Result<Vec<Ejson>, Error> {
    Ok(params)
}

/// Returns the kinds of its parameters.
pub(crate) async fn describe(Params(params): Params<Vec<Ejson>>) -> Result<Vec<String>, Error> {
    Ok(params.iter().map(describe_one).collect())
}

fn describe_one(value: &Ejson) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Ejson::Null => "null".to_owned(),
        Ejson::Bool(_) => format!("boolean {value}"),
        Ejson::Number(number) if number.is_nan() => "number NaN".to_owned(),
        Ejson::Number(number) if number.is_infinite() => {
            format!("number {}Infinity", if *number < 0.0 { "-" } else { "" })
        }
        Ejson::Number(_) => format!("number {value}"),
        Ejson::String(text) => format!("string {text}"),
        Ejson::Array(values) => {
            format!("array [{}]", join(values.iter().map(describe_one).collect()))
        }
        Ejson::Object(members) => {
            let member =
                |(name, value): (&String, &Ejson)| format!("{name}: {}", describe_one(value));
            format!("object {{{}}}", join(members.iter().map(member).collect()))
        }
        Ejson::Date(date) => {
            format!("date {}", date.millis().map_or("NaN".to_owned(), |millis| millis.to_string()))
        }
        Ejson::Binary(bytes) => {
            let bytes = bytes.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("binary [{}]", bytes.join(","))
        }
        Ejson::RegExp { source, flags } => format!("regexp /{source}/{flags}"),
        Ejson::Custom { type_name, value } => match (type_name.as_str(), &**value) {
            ("point", Ejson::Array(point)) => format!("point {} {}", point[0], point[1]),
            ("oid", Ejson::String(hex)) => format!("oid {hex}"),
            _ => format!("unknown {type_name}"),
        },
    }
}

/// Takes one string.
pub(crate) async fn checked(Params((id,)): Params<(String,)>) -> Result<String, Error> {
    Ok(id)
}

/// Has a rate limit.
pub(crate) async fn limited() -> Result<&'static str, Error> {
    Ok("done")
}

/// Returns values of all kinds.
pub(crate) async fn values() -> Result<Ejson, Error> {
    let number = Ejson::Number;
    Ok(Ejson::object([
        ("date", Ejson::Date(Date::from_millis(0))),
        ("binary", Ejson::Binary(vec![1, 2, 3])),
        ("nan", number(f64::NAN)),
        ("infinity", number(f64::INFINITY)),
        ("negative", number(f64::NEG_INFINITY)),
        ("zero", number(-0.0)),
        ("point", Ejson::custom("point", Ejson::array([number(1.0), number(2.0)]))),
        ("oid", Ejson::custom("oid", "507f1f77bcf86cd799439011")),
        ("regexp", Ejson::RegExp { source: "^a".to_owned(), flags: "gi".to_owned() }),
        ("escape", Ejson::object([("$date", number(5.0))])),
        ("big", number(1e21)),
        ("small", number(1e-7)),
        ("null", Ejson::Null),
    ]))
}
