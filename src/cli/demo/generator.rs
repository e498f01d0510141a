//! What the demo company's workflows deliver after the story: a small
//! deterministic sequence of renames, new columns, changed owners and row
//! counts, made from the material. The same seed gives the same sequence.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::company::{Book, Name, edge_gone_line, edge_line, entity_line, gone_line};
use crate::clock::{Clock, ManualClock};
use crate::domain::glob::Glob;
use crate::domain::ids::{RunId, SourceId};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::error::{Error, Result};
use crate::intake::batch::Compression;
use crate::intake::write::WriteOptions;

/// Which delivery is the BI tool's cut-off one, whose plan a guard parks.
const CUT_OFF: u64 = 5;
/// BI batches that come after it, and wait behind it.
const BEHIND_CUT_OFF: u64 = 2;

/// Columns that teams add: name, data type, description.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("loyalty_tier", "text", "Bronze, silver or gold"),
    ("updated_at", "timestamptz", "When the row was last written"),
    ("source_system", "text", "System that the row came from"),
    ("is_test", "boolean", "Rows of the shop team's own tests"),
    ("currency", "char(3)", "Currency of the amounts, ISO 4217"),
    ("region", "text", "Sales region"),
    ("checked_by", "text", "Who looked at it last"),
    ("external_id", "text", "Number at the partner"),
    ("valid_from", "date", "First day on which the row counts"),
    ("valid_to", "date", "Last day on which the row counts"),
    ("carbon_grams", "int", "Carbon dioxide of the delivery"),
    ("language", "char(2)", "Language of the texts, ISO 639-1"),
    ("batch_no", "bigint", "Load that brought the row"),
    ("comment", "text", "Free text"),
];

/// What somebody adds to a model's description.
const REMARKS: &[&str] = &[
    "Refreshed every hour.",
    "Amounts are in euro, VAT included.",
    "Rows of test customers are left out.",
    "Days are those of Berlin.",
    "Cancelled orders stay in, with a status.",
];

/// Models that analysts build: name, description.
const MODELS: &[(&str, &str)] = &[
    ("mart_gift_card_balance", "Open balance of gift cards by month"),
    ("mart_delivery_promise", "Share of parcels that came when they were promised"),
    ("mart_basket_mix", "Articles that are bought together"),
    ("mart_store_hours", "Revenue by hour of the day and store"),
    ("mart_first_purchase", "How customers come to their first order"),
    ("mart_refund_time", "Days from parcel to refund"),
    ("mart_price_changes", "List prices over time"),
    ("mart_channel_shift", "Customers who moved between web, app and store"),
    ("mart_dead_stock", "Articles without a sale in ninety days"),
    ("mart_voucher_effect", "Orders with and without a voucher"),
];

/// Charts that analysts add to dashboards: name, kind.
const CHARTS: &[(&str, &str)] = &[
    ("Last thirteen weeks", "line"),
    ("By country", "bar"),
    ("Against last year", "line"),
    ("Ten largest", "table"),
    ("Share by channel", "bar"),
    ("Outliers", "table"),
    ("Target and actual", "line"),
    ("By weekday", "bar"),
];

const STATUSES: &[&str] = &["published", "certified", "draft"];

/// A batch that a workflow is about to write.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What it is.
    pub options: WriteOptions,
    /// Its lines, as `batches write` takes them.
    pub lines: Vec<u8>,
    /// What happened in the company.
    pub caption: String,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Happening {
    NewColumn,
    OwnerChange,
    RenamedColumn,
    RowCounts,
    WarehouseInFull,
    LateWord,
    ModelDescribed,
    NewModel,
    DbtInFull,
    NewChart,
    DashboardStatus,
    BiCutOff,
}

const ROUND: [Happening; 11] = [
    Happening::NewColumn,
    Happening::ModelDescribed,
    Happening::NewChart,
    Happening::OwnerChange,
    Happening::NewModel,
    Happening::RowCounts,
    Happening::DashboardStatus,
    Happening::WarehouseInFull,
    Happening::LateWord,
    Happening::RenamedColumn,
    Happening::DbtInFull,
];

#[derive(Debug, Clone, Copy)]
enum Who {
    Warehouse,
    Dbt,
    Bi,
}

impl Who {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Warehouse => ("warehouse", "postgres-extract"),
            Self::Dbt => ("dbt", "dbt-artifacts"),
            Self::Bi => ("bi", "bi-extract"),
        }
    }
}

/// What comes of a happening, before it has a time and a name.
struct Made {
    who: Who,
    mode: Mode,
    lines: Vec<Value>,
    caption: String,
    late: bool,
}

impl Made {
    fn some(who: Who, lines: Vec<Value>, caption: String) -> Self {
        Self { who, mode: Mode::Incremental, lines, caption, late: false }
    }

    fn all(who: Who, lines: Vec<Value>, caption: &str) -> Self {
        Self { who, mode: Mode::Full, lines, caption: caption.into(), late: false }
    }
}

/// The sequence of deliveries.
pub struct Generator {
    warehouse: Book,
    dbt: Book,
    bi: Book,
    random: ManualClock,
    count: u64,
    added: Vec<(Name, Name)>,
    behind: u64,
    last_full: Timestamp,
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// The last part of a dotted name.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

impl Generator {
    /// Begins where the story ends, at `now`.
    pub fn new(now: Timestamp) -> Result<Self> {
        Ok(Self {
            warehouse: Book::read(&["warehouse/20261106T030000Z_run-0006"])?,
            dbt: Book::read(&["dbt/20261104T020000Z_run-0002", "dbt/20261106T090000Z_inc-0001"])?,
            bi: Book::read(&["bi/20261105T013000Z_run-0002", "bi/20261106T100000Z_run-0003"])?,
            random: ManualClock::new(Timestamp::UNIX_EPOCH, 20_261_106),
            count: 0,
            added: Vec::new(),
            behind: 0,
            last_full: now,
        })
    }

    fn pick<'t, T>(&self, list: &'t [T]) -> Result<&'t T> {
        let place = self.random.random().checked_rem(list.len() as u64).unwrap_or(0);
        usize::try_from(place)
            .ok()
            .and_then(|place| list.get(place))
            .ok_or_else(|| Error::internal("the demo company has nothing to choose from"))
    }

    /// The next delivery, extracted at `now`.
    pub fn next(&mut self, now: Timestamp) -> Result<Delivery> {
        let n = self.count;
        self.count += 1;
        let round = usize::try_from(n % ROUND.len() as u64).unwrap_or(0);
        let mut happening = if n == CUT_OFF { Happening::BiCutOff } else { ROUND[round] };
        let of_bi = matches!(happening, Happening::NewChart | Happening::DashboardStatus);
        if of_bi && n > CUT_OFF {
            if self.behind >= BEHIND_CUT_OFF {
                // Whoever repairs the BI tool's extraction has not come yet.
                happening = Happening::ModelDescribed;
            }
            self.behind += 1;
        }
        let made = self.happen(happening)?;
        if made.mode == Mode::Incremental && !made.late {
            let book = match made.who {
                Who::Warehouse => &mut self.warehouse,
                Who::Dbt => &mut self.dbt,
                Who::Bi => &mut self.bi,
            };
            made.lines.iter().for_each(|line| book.take(line));
        }
        let time = if made.late {
            self.last_full.checked_sub(SignedDuration::from_mins(10)).unwrap_or(Timestamp::MIN)
        } else {
            now
        };
        if matches!((made.who, made.mode), (Who::Warehouse, Mode::Full)) {
            self.last_full = now;
        }
        let (source, workflow) = made.who.names();
        let bad = |e: crate::domain::ids::IdError| Error::internal(e.to_string());
        let mut lines = Vec::new();
        for line in &made.lines {
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        let all = || vec![Glob::new("*")];
        Ok(Delivery {
            options: WriteOptions {
                source_id: SourceId::new(source).map_err(bad)?,
                run_id: RunId::new(format!("live-{:04}", n + 1)).map_err(bad)?,
                workflow: workflow.into(),
                mode: made.mode,
                source_timestamp: time,
                processing_timestamp: now,
                complexity: None,
                scope: Scope { types: all(), names: all(), except: Vec::new() },
                compression: Compression::Zstd,
                lines_per_file: 100_000,
            },
            lines,
            caption: made.caption,
        })
    }

    fn happen(&mut self, happening: Happening) -> Result<Made> {
        match happening {
            Happening::NewColumn => self.new_column(),
            Happening::OwnerChange => self.owner_change(),
            Happening::RenamedColumn => self.renamed_column(),
            Happening::RowCounts => self.row_counts(),
            Happening::WarehouseInFull => {
                let caption = "The warehouse is read in full.";
                Ok(Made::all(Who::Warehouse, self.warehouse.lines(), caption))
            }
            Happening::LateWord => self.late_word(),
            Happening::ModelDescribed => self.model_described(),
            Happening::NewModel => self.new_model(),
            Happening::DbtInFull => {
                Ok(Made::all(Who::Dbt, self.dbt.lines(), "dbt's artifacts are read in full."))
            }
            Happening::NewChart => self.new_chart(),
            Happening::DashboardStatus => self.dashboard_status(),
            Happening::BiCutOff => self.bi_cut_off(),
        }
    }

    fn entity(book: &Book, name: &Name) -> Result<Map<String, Value>> {
        let found = book.attributes(name).cloned();
        found.ok_or_else(|| Error::internal(format!("the demo company has no {} {}", name.0, name.1)))
    }

    fn table(&self) -> Result<Name> {
        self.pick(&self.warehouse.names("rdbms_table")).cloned()
    }

    fn new_column(&mut self) -> Result<Made> {
        let table = self.table()?;
        let columns = self.warehouse.ends("rdbms_table_columns", &table);
        let new = COLUMNS.iter().find(|(name, _, _)| columns.iter().all(|column| last(&column.1) != *name));
        let Some((name, data_type, description)) = new else { return self.row_counts() };
        let owner = Self::entity(&self.warehouse, &table)?.remove("owner").unwrap_or_default();
        let column = ("rdbms_column".to_owned(), format!("{}.{name}", table.1));
        let attributes = json!({
            "name": name, "description": description, "data_type": data_type,
            "position": columns.len() + 1, "nullable": true, "primary_key": false, "owner": owner,
        });
        self.added.push((table.clone(), column.clone()));
        let lines = vec![
            entity_line(&column, attributes.as_object().unwrap_or(&Map::new())),
            edge_line("rdbms_table_columns", &table, &column, None),
        ];
        Ok(Made::some(Who::Warehouse, lines, format!("{} has a new column {name}.", last(&table.1))))
    }

    fn renamed_column(&mut self) -> Result<Made> {
        let Some((table, old)) = self.added.pop() else { return self.new_column() };
        let columns = self.warehouse.ends("rdbms_table_columns", &table);
        let new = COLUMNS.iter().rev().find(|(n, _, _)| columns.iter().all(|column| last(&column.1) != *n));
        let Some((name, _, _)) = new else { return self.new_column() };
        let column = ("rdbms_column".to_owned(), format!("{}.{name}", table.1));
        let mut attributes = Self::entity(&self.warehouse, &old)?;
        attributes.insert("name".into(), text(name));
        let lines = vec![
            gone_line(&old),
            entity_line(&column, &attributes),
            edge_gone_line("rdbms_table_columns", &table, &old),
            edge_line("rdbms_table_columns", &table, &column, None),
        ];
        let caption = format!("In {}, {} is called {name} now.", last(&table.1), last(&old.1));
        Ok(Made::some(Who::Warehouse, lines, caption))
    }

    fn owner_change(&mut self) -> Result<Made> {
        let table = self.table()?;
        let mut attributes = Self::entity(&self.warehouse, &table)?;
        let present = attributes.get("owner").cloned().unwrap_or_default();
        let mut owners: Vec<Value> = Vec::new();
        for schema in self.warehouse.names("rdbms_schema") {
            owners.extend(Self::entity(&self.warehouse, &schema)?.remove("owner"));
        }
        owners.retain(|owner| *owner != present);
        let owner = self.pick(&owners)?.clone();
        attributes.insert("owner".into(), owner.clone());
        let mut lines = vec![entity_line(&table, &attributes)];
        for column in self.warehouse.ends("rdbms_table_columns", &table) {
            let mut attributes = Self::entity(&self.warehouse, &column)?;
            attributes.insert("owner".into(), owner.clone());
            lines.push(entity_line(&column, &attributes));
        }
        let to = owner.as_str().unwrap_or_default();
        Ok(Made::some(Who::Warehouse, lines, format!("{} goes over to {to}.", last(&table.1))))
    }

    fn row_counts(&mut self) -> Result<Made> {
        let mut lines = Vec::new();
        for table in self.warehouse.names("rdbms_table") {
            let mut attributes = Self::entity(&self.warehouse, &table)?;
            let grown = 1 + self.random.random() % 900;
            if let Some(count) = attributes.get_mut("statistics").and_then(|s| s.get_mut("row_count")) {
                *count = json!(count.as_u64().unwrap_or(0) + grown);
                lines.push(entity_line(&table, &attributes));
            }
        }
        let caption = "Tables have grown. Row counts are volatile: no update.".to_owned();
        Ok(Made::some(Who::Warehouse, lines, caption))
    }

    fn late_word(&mut self) -> Result<Made> {
        let table = self.table()?;
        let attributes = Self::entity(&self.warehouse, &table)?;
        let caption = format!(
            "An extraction of {} from before the last full one comes late: what is newer stays.",
            last(&table.1)
        );
        Ok(Made { late: true, ..Made::some(Who::Warehouse, vec![entity_line(&table, &attributes)], caption) })
    }

    fn model_described(&mut self) -> Result<Made> {
        let model = self.pick(&self.dbt.names("dbt_model"))?.clone();
        let mut attributes = Self::entity(&self.dbt, &model)?;
        let present = attributes.get("description").and_then(Value::as_str).unwrap_or_default();
        let first = present.lines().next().unwrap_or_default().to_owned();
        let remarks: Vec<&&str> = REMARKS.iter().filter(|remark| !present.ends_with(**remark)).collect();
        let remark = self.pick(&remarks)?;
        attributes.insert("description".into(), text(&format!("{first}\n{remark}")));
        let caption = format!("Somebody writes more about {}.", last(&model.1));
        Ok(Made::some(Who::Dbt, vec![entity_line(&model, &attributes)], caption))
    }

    fn new_model(&mut self) -> Result<Made> {
        let models = self.dbt.names("dbt_model");
        let new = MODELS.iter().find(|(name, _)| models.iter().all(|model| last(&model.1) != *name));
        let Some((name, description)) = new else { return self.model_described() };
        let facts: Vec<Name> = models.into_iter().filter(|m| last(&m.1).starts_with("fct_")).collect();
        let reads = self.pick(&facts)?.clone();
        let model = ("dbt_model".to_owned(), format!("halden_analytics.{name}"));
        let test = ("dbt_test".to_owned(), format!("halden_analytics.not_empty_{name}"));
        let project = ("dbt_project".to_owned(), "halden_analytics".to_owned());
        let attributes = json!({
            "name": name, "description": description, "layer": "marts", "owner": "analytics-engineering",
            "materialized": "table", "tags": ["marts"],
        });
        let checks = json!({
            "name": format!("not_empty_{name}"), "description": "there is a row", "severity": "warn",
        });
        let none = Map::new();
        let lines = vec![
            entity_line(&model, attributes.as_object().unwrap_or(&none)),
            entity_line(&test, checks.as_object().unwrap_or(&none)),
            edge_line("dbt_project_contents", &project, &model, None),
            edge_line("dbt_model_tests", &model, &test, None),
            edge_line("lineage", &reads, &model, Some(json!({ "kind": "reads" }))),
        ];
        let caption = format!("A new model {name} reads {}.", last(&reads.1));
        Ok(Made::some(Who::Dbt, lines, caption))
    }

    fn new_chart(&mut self) -> Result<Made> {
        let dashboard = self.pick(&self.bi.names("bi_dashboard"))?.clone();
        let charts = self.bi.ends("bi_dashboard_charts", &dashboard);
        let slug = |name: &str| name.to_lowercase().replace(' ', "-");
        let path = |name: &str| format!("{}/{}", dashboard.1, slug(name));
        let new = CHARTS.iter().find(|(name, _)| charts.iter().all(|chart| chart.1 != path(name)));
        let Some((name, visual)) = new else { return self.dashboard_status() };
        let chart = ("bi_chart".to_owned(), path(name));
        let data = ("bi_dataset".to_owned(), format!("{}/data", dashboard.1));
        let attributes = json!({ "name": name, "visual": visual });
        let lines = vec![
            entity_line(&chart, attributes.as_object().unwrap_or(&Map::new())),
            edge_line("bi_dashboard_charts", &dashboard, &chart, None),
            edge_line("lineage", &data, &chart, Some(json!({ "kind": "shows" }))),
        ];
        let title = Self::entity(&self.bi, &dashboard)?;
        let title = title.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Made::some(Who::Bi, lines, format!("The dashboard {title} gets a chart: {name}.")))
    }

    fn dashboard_status(&mut self) -> Result<Made> {
        let dashboard = self.pick(&self.bi.names("bi_dashboard"))?.clone();
        let mut attributes = Self::entity(&self.bi, &dashboard)?;
        let present = attributes.get("status").and_then(Value::as_str).unwrap_or_default();
        let others: Vec<&&str> = STATUSES.iter().filter(|status| **status != present).collect();
        let status = (**self.pick(&others)?).to_owned();
        attributes.insert("status".into(), text(&status));
        let title = attributes.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let lines = vec![entity_line(&dashboard, &attributes)];
        Ok(Made::some(Who::Bi, lines, format!("The dashboard {title} is {status} now.")))
    }

    /// A full batch with one dashboard of six. The book stays as it was: the
    /// tool has lost nothing.
    fn bi_cut_off(&mut self) -> Result<Made> {
        let Some(first) = self.bi.names("bi_dashboard").into_iter().next() else {
            return Err(Error::internal("the demo company has no dashboard"));
        };
        let below = format!("{}/", first.1);
        let kept = |end: &Value| {
            let name = end["qualified_name"].as_str().unwrap_or_default();
            name == first.1 || name.starts_with(&below) || name == "halden"
        };
        let lines: Vec<Value> = self
            .bi
            .lines()
            .into_iter()
            .filter(|line| if line["from"].is_object() { kept(&line["to"]) } else { kept(line) })
            .collect();
        let caption = "The BI tool answers with its first page only, and the batch still says that it is full. Guards park the plan until somebody looks at it: the page of the batch shows what would go.";
        Ok(Made::all(Who::Bi, lines, caption))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::{LoadOptions, Settings};
    use crate::domain::publish_state::PublishStatus;
    use crate::intake::reader::ReadLimits;
    use crate::intake::write::{Place, write_batch};
    use crate::service::Engine;

    fn time(n: u64) -> Timestamp {
        let start: Timestamp = "2026-11-06T11:00:00Z".parse().unwrap();
        start.checked_add(SignedDuration::from_secs(4 * n as i64)).unwrap()
    }

    #[test]
    fn the_same_deliveries_come_every_time() {
        let all = || {
            let mut generator = Generator::new(time(0)).unwrap();
            (0..60)
                .map(|n| generator.next(time(n)).unwrap())
                .map(|d| (d.caption, d.lines))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(), all());
    }

    #[test]
    fn what_is_delivered_is_published_but_for_what_is_meant_to_wait() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("tidegate.toml");
        std::fs::write(&file, super::super::material::SETTINGS).unwrap();
        let options =
            LoadOptions { data: Some(data.path().into()), file: Some(file), ..LoadOptions::default() };
        let clock = Arc::new(ManualClock::new(time(0), 1));
        let engine = Engine::open(data.path(), Settings::load(&options).unwrap(), clock).unwrap();
        let inbox = data.path().join("inbox");
        let publish = |folder: &Path| {
            let id = engine.accept(folder).unwrap();
            (engine.run_batch(&id).unwrap(), id)
        };
        for step in super::super::material::steps().unwrap() {
            publish(&super::super::material::deliver(&step, &inbox).unwrap());
        }
        let mut generator = Generator::new(time(0)).unwrap();
        let mut changed = 0;
        for n in 0..40 {
            let delivery = generator.next(time(n)).unwrap();
            let folder = write_batch(
                &delivery.options,
                &ReadLimits::default(),
                &mut &delivery.lines[..],
                &Place::new(&delivery.options, &inbox),
            )
            .unwrap();
            let (record, id) = publish(&folder);
            let waits = id.source().as_str() == "bi" && n >= CUT_OFF;
            let expected = match record.status {
                PublishStatus::Complete => !waits && record.failure.is_none(),
                PublishStatus::PlanComplete => n == CUT_OFF && record.hold.is_some(),
                PublishStatus::Pending => waits && n > CUT_OFF,
                PublishStatus::Planning
                | PublishStatus::Executing
                | PublishStatus::Failed
                | PublishStatus::Retrying => false,
            };
            assert!(expected, "{n} {id}: {record:?}");
            let changes = engine.plan_of(&record).unwrap().map(|p| p.manifest().header.summary.changes());
            changed += u64::from(changes.unwrap_or(0) > 0);
        }
        assert!(changed > 20, "{changed}");
    }
}
