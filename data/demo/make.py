#!/usr/bin/env python3
"""Makes the demo's batches: a year-old outdoor retailer, Halden Outdoor, in November 2026.

Writes `batches/<source>/<time>_<run>/…`, `story.json` and `expected.json` beside
this file. Deterministic, standard library only. `--check` makes everything again
in memory and fails if a file differs.
"""
import copy
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent

# name, type, description; "!" behind the type: key; ">table": foreign key
SCHEMAS = {
    "sales": ("Orders, baskets and customers of the web shop and the stores", "sales-platform", {
        "customers": ("One row per customer who has bought at least once", 184_230, """
            customer_id bigint! Number given at the first purchase
            email text Address that receipts are sent to
            full_name text Name as on the invoice
            country_code char(2) Country of the delivery address, ISO 3166-1
            segment text Retail, club or business
            created_at timestamptz When the account was opened
            marketing_consent boolean Whether newsletters are allowed
            lifetime_value numeric(12,2) Sum of all paid orders in euro"""),
        "orders": ("One row per order, from basket to delivery", 1_204_511, """
            order_id bigint! Number printed on the receipt
            customer_id bigint>customers Who ordered
            store_id int>stores Where it was sold; the web shop is store 1
            ordered_at timestamptz When the order was placed
            status text Placed, paid, shipped, returned or cancelled
            total_amount numeric(12,2) Sum in euro, VAT included
            vat_amount numeric(12,2) VAT part of the total
            voucher_code text Voucher used, if any
            channel text Web, app or till"""),
        "order_lines": ("One row per article in an order", 3_889_020, """
            order_line_id bigint! Number of the line
            order_id bigint>orders The order
            article_id bigint>articles What was ordered
            quantity int Pieces
            unit_price numeric(10,2) Price per piece in euro
            discount_rate numeric(4,3) Discount on the list price, 0 to 1
            returned_quantity int Pieces that came back"""),
        "articles": ("The assortment: one row per size and colour", 41_877, """
            article_id bigint! Number of the article
            ean char(13) Bar code
            name text Name in the shop
            category text Path in the category tree
            brand text Brand
            list_price numeric(10,2) Price without discount in euro
            is_active boolean Whether it can be ordered now
            weight_grams int Weight with packaging"""),
        "stores": ("Web shop and stores", 38, """
            store_id int! Number of the store
            name text Name on the sign
            city text City
            country_code char(2) Country, ISO 3166-1
            opened_on date First day of business
            square_metres int Sales area"""),
        "returns": ("Parcels that customers sent back", 97_340, """
            return_id bigint! Number on the return label
            order_line_id bigint>order_lines What came back
            reason text Size, defect, dislike or late
            received_at timestamptz When the parcel reached the warehouse
            refunded_amount numeric(10,2) Money given back in euro"""),
    }),
    "finance": ("Ledger, invoices and payments", "finance-systems", {
        "invoices": ("One row per invoice to a customer", 1_198_002, """
            invoice_id bigint! Number of the invoice
            order_id bigint The order that is billed
            issued_on date Date of the invoice
            due_on date Last day to pay
            net_amount numeric(12,2) Sum without VAT in euro
            vat_amount numeric(12,2) VAT in euro
            paid_at timestamptz When it was settled, if it was"""),
        "payments": ("Money received, by payment provider", 1_176_664, """
            payment_id bigint! Number of the payment
            invoice_id bigint>invoices The invoice that is paid
            provider text Card, PayPal, Klarna or transfer
            amount numeric(12,2) Amount in euro
            fee_amount numeric(8,2) Fee of the provider in euro
            booked_at timestamptz When the provider booked it"""),
        "ledger_entries": ("Double-entry bookings, closed monthly", 5_410_118, """
            entry_id bigint! Number of the booking
            account_code text>accounts Account
            cost_centre text Cost centre
            booked_on date Booking date
            debit numeric(14,2) Debit in euro
            credit numeric(14,2) Credit in euro
            period char(7) Month that it belongs to, as 2026-11"""),
        "accounts": ("The chart of accounts", 412, """
            account_code text! Number in the chart of accounts
            name text Name
            category text Asset, liability, income or expense
            is_open boolean Whether it can be booked to"""),
        "budgets": ("Yearly budget by cost centre and month", 3_024, """
            budget_id bigint! Number
            cost_centre text Cost centre
            period char(7) Month
            amount numeric(14,2) Budget in euro
            approved_by text Who approved it"""),
        "exchange_rates": ("Daily reference rates of the ECB", 61_320, """
            currency char(3) Currency, ISO 4217
            rate_date date Day of the rate
            euro_rate numeric(12,6) Units of the currency for one euro"""),
    }),
    "logistics": ("Warehouse, shipments and suppliers", "supply-chain", {
        "shipments": ("One row per parcel that left the warehouse", 1_322_900, """
            shipment_id bigint! Number on the parcel
            order_id bigint The order in it
            carrier text>carriers Who carries it
            packed_at timestamptz When it was packed
            handed_over_at timestamptz When the carrier took it
            delivered_at timestamptz When it arrived
            weight_grams int Weight of the parcel
            tracking_code text Code for the carrier's page"""),
        "carriers": ("Carriers that we have a contract with", 9, """
            carrier text! Short name
            name text Name
            service_level text Standard, express or freight
            contract_until date Last day of the contract"""),
        "stock_levels": ("Pieces on the shelf, every hour", 8_400_233, """
            article_id bigint The article
            location_code text Shelf
            counted_at timestamptz Hour of the count
            quantity int Pieces that can be sold
            reserved int Pieces that are promised to an order"""),
        "suppliers": ("Companies that we buy from", 486, """
            supplier_id int! Number of the supplier
            name text Name
            country_code char(2) Country, ISO 3166-1
            lead_time_days int Days from order to arrival
            rating text A, B or C"""),
        "purchase_orders": ("Orders to suppliers", 22_871, """
            purchase_order_id bigint! Number of the order
            supplier_id int>suppliers The supplier
            ordered_on date Day of the order
            expected_on date Day that it should arrive
            net_amount numeric(12,2) Sum in the supplier's currency
            currency char(3) Currency, ISO 4217"""),
    }),
    "marketing": ("Campaigns, newsletters and the club", "growth", {
        "campaigns": ("Campaigns over all channels", 1_140, """
            campaign_id int! Number of the campaign
            name text Name
            channel text E-mail, search, social or print
            starts_on date First day
            ends_on date Last day
            budget_amount numeric(10,2) Budget in euro"""),
        "newsletter_sends": ("One row per newsletter and recipient", 24_904_100, """
            send_id bigint! Number
            campaign_id int>campaigns The campaign
            customer_id bigint Who received it
            sent_at timestamptz When it was sent
            opened_at timestamptz When it was opened, if it was
            clicked_at timestamptz First click, if there was one"""),
        "club_members": ("Members of the Halden Club", 52_018, """
            member_id bigint! Number on the card
            customer_id bigint The customer
            joined_on date Day of joining
            tier text Trail, summit or expedition
            points int Points that can be spent"""),
        "web_sessions": ("Visits of the web shop, 13 months", 61_220_480, """
            session_id uuid! Random number of the visit
            customer_id bigint The customer, if signed in
            started_at timestamptz First page view
            landing_page text First page
            utm_source text Where the visit came from
            page_views int Pages seen"""),
    }),
    "people": ("Staff and shifts; access is restricted", "people-team", {
        "employees": ("Everybody with a contract", 911, """
            employee_id int! Number
            full_name text Name
            store_id int Where the person works
            role text Role
            hired_on date First day
            left_on date Last day, if there is one
            weekly_hours numeric(4,1) Hours a week"""),
        "shifts": ("Planned and worked shifts in the stores", 402_117, """
            shift_id bigint! Number
            employee_id int>employees Who
            starts_at timestamptz Planned start
            ends_at timestamptz Planned end
            worked_minutes int Minutes that were worked"""),
        "trainings": ("Trainings and who attended", 6_204, """
            training_id int! Number
            employee_id int>employees Who
            topic text Topic
            held_on date Day
            passed boolean Whether the test was passed"""),
    }),
    "support": ("Questions of customers and how they were answered", "customer-care", {
        "tickets": ("One row per question that a customer asked", 311_402, """
            ticket_id bigint! Number that the customer is told
            customer_id bigint The customer, if known
            order_id bigint The order that it is about, if one
            topic text Delivery, return, article, invoice or club
            channel text Mail, chat, phone or store
            opened_at timestamptz When it was asked
            closed_at timestamptz When it was settled, if it was
            agent_id int>agents Who answers it"""),
        "messages": ("What was written, both ways", 1_022_310, """
            message_id bigint! Number
            ticket_id bigint>tickets The question
            written_at timestamptz When it was written
            is_from_customer boolean Whether the customer wrote it
            language char(2) Language, ISO 639-1
            word_count int Words in it"""),
        "agents": ("People who answer questions", 64, """
            agent_id int! Number
            employee_id int The person
            team text Team
            languages text Languages, ISO 639-1
            trained_until date Day that the last training is good for"""),
        "surveys": ("What customers said of the answer", 58_117, """
            survey_id bigint! Number
            ticket_id bigint>tickets The question
            score int 1 to 5
            answered_at timestamptz When it was filled in
            would_recommend boolean Whether they would recommend us"""),
        "help_articles": ("Answers that customers find by themselves", 640, """
            help_article_id int! Number
            title text Title on the page
            language char(2) Language, ISO 639-1
            published_at timestamptz When it was published
            views_last_year bigint Page views of twelve months
            is_current boolean Whether it is shown now"""),
    }),
    "workshop": ("Repairs and rentals in the stores", "store-services", {
        "repairs": ("One row per thing that was brought for repair", 44_930, """
            repair_id bigint! Number on the ticket
            store_id int Where it was brought
            customer_id bigint Who brought it
            article_id bigint What it is, if we sold it
            fault text What is broken, in the customer's words
            received_at timestamptz When it was brought
            ready_at timestamptz When it could be fetched
            price_amount numeric(8,2) What the repair cost, in euro"""),
        "repair_parts": ("Parts that were used for repairs", 97_215, """
            repair_part_id bigint! Number
            repair_id bigint>repairs The repair
            article_id bigint The part
            quantity int Pieces
            unit_cost numeric(8,2) Cost of one piece in euro"""),
        "rental_items": ("Things that can be rented", 3_280, """
            rental_item_id int! Number on the label
            article_id bigint The article
            store_id int Where it is
            condition text New, good or worn
            daily_rate numeric(8,2) Price of a day in euro
            retired_on date Last day, if there was one"""),
        "rentals": ("Who rented what, and for how long", 71_604, """
            rental_id bigint! Number of the contract
            rental_item_id int>rental_items What was rented
            customer_id bigint Who rented it
            from_date date First day
            to_date date Last day as agreed
            returned_on date Day that it came back, if it did
            deposit_amount numeric(8,2) Deposit in euro"""),
    }),
}

MODELS = {
    "stg_customers": ("staging", "Customers with tidy country codes and lower-case addresses", ["sales.customers"], []),
    "stg_orders": ("staging", "Orders without test orders of the shop team", ["sales.orders"], []),
    "stg_order_lines": ("staging", "Order lines with net prices", ["sales.order_lines"], []),
    "stg_articles": ("staging", "Articles with category path split into levels", ["sales.articles"], []),
    "stg_returns": ("staging", "Returns with one reason code for each", ["sales.returns"], []),
    "stg_invoices": ("staging", "Invoices with their age in days", ["finance.invoices"], []),
    "stg_payments": ("staging", "Payments with fees as a share", ["finance.payments"], []),
    "stg_shipments": ("staging", "Shipments with time to hand-over and delivery", ["logistics.shipments"], []),
    "stg_stock_levels": ("staging", "Stock levels, last count of each day", ["logistics.stock_levels"], []),
    "stg_campaigns": ("staging", "Campaigns with running flag", ["marketing.campaigns"], []),
    "stg_club_members": ("staging", "Club members with tier history", ["marketing.club_members"], []),
    "int_order_margins": ("intermediate", "Margin of every order line after discount, return and shipping",
                          [], ["stg_orders", "stg_order_lines", "stg_articles", "stg_returns", "stg_shipments"]),
    "int_customer_orders": ("intermediate", "Orders of each customer in sequence", [], ["stg_customers", "stg_orders"]),
    "dim_customers": ("marts", "One row per customer with segment and club tier", [], ["int_customer_orders", "stg_club_members"]),
    "dim_articles": ("marts", "One row per article with its three category levels", [], ["stg_articles"]),
    "fct_orders": ("marts", "One row per order with margin and delivery time", [], ["int_order_margins", "stg_orders"]),
    "fct_returns": ("marts", "One row per return with what it cost", [], ["stg_returns", "int_order_margins"]),
    "fct_payments": ("marts", "One row per payment, matched with its invoice", [], ["stg_payments", "stg_invoices"]),
    "fct_stock_daily": ("marts", "Stock by article and day", [], ["stg_stock_levels", "dim_articles"]),
    "mart_revenue_daily": ("marts", "Revenue, margin and orders by day, store and channel", [], ["fct_orders"]),
    "mart_retention": ("marts", "Monthly cohorts of customers and what they buy again", [], ["dim_customers", "fct_orders"]),
}
SEEDS = {"country_names": "Countries with their names in our four languages", "return_reasons": "Return reasons and their groups"}
TESTS = {
    "unique_fct_orders_order_id": ("fct_orders", "order_id is unique"),
    "not_null_fct_orders_customer_id": ("fct_orders", "customer_id is never null"),
    "accepted_values_stg_orders_status": ("stg_orders", "status is one of the five known ones"),
    "relationships_fct_returns_order_id": ("fct_returns", "every return belongs to an order"),
    "unique_dim_customers_customer_id": ("dim_customers", "customer_id is unique"),
    "freshness_stg_shipments": ("stg_shipments", "shipments are at most six hours old"),
}

DASHBOARDS = {
    "Revenue cockpit": ("Revenue and margin by day, for the Monday meeting", "commercial-analytics", "mart_revenue_daily",
                        ["Revenue yesterday", "Margin by channel", "Revenue by store", "Orders by hour", "Top 20 articles", "Vouchers used"]),
    "Customer retention": ("Who comes back, and after how long", "commercial-analytics", "mart_retention",
                           ["Cohort heat map", "Repeat rate", "Club members by tier", "Lifetime value"]),
    "Returns monitor": ("What comes back and why", "supply-chain", "fct_returns",
                        ["Return rate by category", "Reasons", "Cost of returns", "Slowest refunds"]),
    "Delivery performance": ("Time from order to door by carrier", "supply-chain", "fct_orders",
                             ["Days to deliver", "Late parcels", "Parcels by carrier", "Packing backlog"]),
    "Cash and payments": ("Open invoices and provider fees", "finance-analytics", "fct_payments",
                          ["Open invoices by age", "Fees by provider", "Payments by day", "Unmatched payments"]),
    "Stock health": ("What runs out and what gathers dust", "supply-chain", "fct_stock_daily",
                     ["Days of cover", "Out of stock", "Slow movers", "Stock value"]),
}

WAREHOUSE = "halden_dw"


def entity(kind, qualified_name, /, **attributes):
    line = {"type": kind, "qualified_name": qualified_name, "attributes": attributes}
    return ("entity", kind, qualified_name), line


def edge(kind, a, b, /, label=None, **attributes):
    line = {"type": kind, "from": {"type": a[0], "qualified_name": a[1]}, "to": {"type": b[0], "qualified_name": b[1]}}
    if label:
        line["label"] = label
    if attributes:
        line["attributes"] = attributes
    return ("edge", kind, a, b, label or ""), line


def table_of(schema, table):
    return ("rdbms_table", f"{WAREHOUSE}.{schema}.{table}")


def column_of(schema, table, column):
    return ("rdbms_column", f"{WAREHOUSE}.{schema}.{table}.{column}")


def add(state, *pairs):
    for key, line in pairs:
        state[key] = line


def columns_of(text):
    for line in text.strip().splitlines():
        name, data_type, description = line.strip().split(" ", 2)
        target = None
        if ">" in data_type:
            data_type, target = data_type.split(">")
        yield name, data_type.rstrip("!"), data_type.endswith("!"), target, description


def add_table(state, schema, table, spec, owner):
    description, rows, text = spec
    me = table_of(schema, table)
    add(state, entity(*me, name=table, description=description, owner=owner, tags=["gold"] if rows > 1_000_000 else [],
                      statistics={"row_count": rows, "analyzed_at": "2026-11-02T01:00:00Z"}))
    add(state, edge("rdbms_schema_tables", ("rdbms_schema", f"{WAREHOUSE}.{schema}"), me))
    for position, (name, data_type, key, target, about) in enumerate(columns_of(text), 1):
        column = column_of(schema, table, name)
        add(state, entity(*column, name=name, description=about, data_type=data_type, position=position,
                          nullable=not key, primary_key=key, owner=owner))
        add(state, edge("rdbms_table_columns", me, column))
        if target:
            other = SCHEMAS[schema][2][target][2].strip().split(" ", 1)[0]
            add(state, edge("rdbms_foreign_key", column, column_of(schema, target, other), label=f"fk_{table}_{name}"))


def warehouse():
    state = {}
    add(state, entity("rdbms_db", WAREHOUSE, name=WAREHOUSE, description="Data warehouse of Halden Outdoor, PostgreSQL 17",
                      owner="data-platform", tags=["production"]))
    for schema, (description, owner, tables) in SCHEMAS.items():
        add(state, entity("rdbms_schema", f"{WAREHOUSE}.{schema}", name=schema, description=description, owner=owner))
        add(state, edge("rdbms_db_schemas", ("rdbms_db", WAREHOUSE), ("rdbms_schema", f"{WAREHOUSE}.{schema}")))
        for table, spec in tables.items():
            add_table(state, schema, table, spec, owner)
    return state


def dbt():
    state = {}
    project = ("dbt_project", "halden_analytics")
    add(state, entity(*project, name="halden_analytics", description="Models on the warehouse, run every hour", owner="analytics-engineering",
                      repository="git.halden.example/analytics"))
    for name, description in SEEDS.items():
        add(state, entity("dbt_seed", f"halden_analytics.{name}", name=name, description=description))
        add(state, edge("dbt_project_contents", project, ("dbt_seed", f"halden_analytics.{name}")))
    for name, (layer, description, tables, models) in MODELS.items():
        me = ("dbt_model", f"halden_analytics.{name}")
        add(state, entity(*me, name=name, description=description, layer=layer, owner="analytics-engineering",
                          materialized="view" if layer == "staging" else "table", tags=[layer]))
        add(state, edge("dbt_project_contents", project, me))
        for table in tables:
            add(state, edge("lineage", table_of(*table.split(".")), me, kind="reads"))
        for model in models:
            add(state, edge("lineage", ("dbt_model", f"halden_analytics.{model}"), me, kind="ref"))
    # One pair of models has two edges: the ref and the snapshot.
    add(state, edge("lineage", ("dbt_model", "halden_analytics.stg_club_members"), ("dbt_model", "halden_analytics.dim_customers"),
                    label="snapshot", kind="snapshot"))
    for name, (model, description) in TESTS.items():
        me = ("dbt_test", f"halden_analytics.{name}")
        add(state, entity(*me, name=name, description=description, severity="error"))
        add(state, edge("dbt_model_tests", ("dbt_model", f"halden_analytics.{model}"), me))
    return state


def slug(text):
    return text.lower().replace(" ", "-")


def bi():
    state = {}
    space = ("bi_workspace", "halden")
    add(state, entity(*space, name="Halden Outdoor", description="Workspace of the analytics team", owner="analytics-engineering"))
    for name, (description, owner, model, charts) in DASHBOARDS.items():
        board = ("bi_dashboard", f"halden/{slug(name)}")
        data = ("bi_dataset", f"halden/{slug(name)}/data")
        add(state, entity(*board, name=name, description=description, owner=owner, status="published"))
        add(state, edge("bi_workspace_dashboards", space, board))
        add(state, entity(*data, name=f"{name}: data", description=f"Reads {model}", refresh="hourly"))
        add(state, edge("lineage", ("dbt_model", f"halden_analytics.{model}"), data, kind="reads"))
        for chart in charts:
            me = ("bi_chart", f"halden/{slug(name)}/{slug(chart)}")
            add(state, entity(*me, name=chart, visual="table" if "by" in chart or "Top" in chart else "line"))
            add(state, edge("bi_dashboard_charts", board, me))
            add(state, edge("lineage", data, me, kind="shows"))
    # What BI knows of a model itself: its own title, and how often it is asked for.
    add(state, entity("dbt_model", "halden_analytics.mart_revenue_daily", title="Daily revenue", popularity="very high",
                      description="Revenue table behind the cockpit"))
    return state


class Story:
    def __init__(self):
        self.steps, self.files, self.asserted = [], {}, []

    def batch(self, source, time, run, mode, lines, caption, expect="complete", scope=None, raw=(), workflow=None, absent=()):
        folder = f"{source}/{time.replace('-', '').replace(':', '')}_{run}"
        groups = {"entities": [], "relationships": []}
        for key, line in lines.items():
            groups["entities" if key[0] == "entity" else "relationships"].append(json.dumps(line, ensure_ascii=False))
        for key in absent:
            line = {"type": key[1], "qualified_name": key[2], "deleted": True} if key[0] == "entity" else dict(
                edge(*key[1:4], label=key[4])[1], deleted=True)
            groups["entities" if key[0] == "entity" else "relationships"].append(json.dumps(line, ensure_ascii=False))
        groups["entities"].extend(raw)
        files = []
        for kind, texts in groups.items():
            if texts:
                text = "".join(f"{line}\n" for line in texts)
                self.files[f"{folder}/{kind}-00000.ndjson"] = text
                files.append({"path": f"{kind}-00000.ndjson", "kind": kind, "count": len(texts), "bytes": len(text.encode())})
        manifest = {"format": "tidegate.batch/1", "source_id": source, "run_id": run, "workflow": workflow or f"{source}-extract",
                    "mode": mode, "source_timestamp": time, "processing_timestamp": time}
        if scope:
            manifest["scope"] = scope
        manifest["files"] = files
        self.files[f"{folder}/manifest.json"] = json.dumps(manifest, indent=1) + "\n"
        self.steps.append({"batch": folder, "caption": caption, "expect": expect})
        if expect != "parked-then-rejected":
            self.asserted.append((source, time, run, mode, dict(lines), set(absent)))


def rename_owner(state, start, owner):
    for key, line in state.items():
        if key[0] == "entity" and key[2].startswith(start) and "owner" in line["attributes"]:
            line["attributes"]["owner"] = owner


def stamp_statistics(state, time, growth):
    for line in state.values():
        statistics = line.get("attributes", {}).get("statistics")
        if statistics:
            statistics["row_count"] += growth
            statistics["analyzed_at"] = time


def tell():
    story = Story()
    w, d, b = warehouse(), dbt(), bi()
    story.batch("warehouse", "2026-11-02T01:00:00Z", "run-0001", "full", w,
                "The first extraction of the warehouse: five schemas with their tables, columns and foreign keys.")
    story.batch("bi", "2026-11-02T01:30:00Z", "run-0001", "full", b,
                "The BI tool comes before dbt: its datasets read dbt models that nobody has asserted yet, so those relationships wait.")
    story.batch("dbt", "2026-11-02T02:00:00Z", "run-0001", "full", d,
                "dbt arrives. Its models read warehouse tables, and BI's waiting relationships appear with them. Two sources describe mart_revenue_daily now: dbt has the higher precedence.")

    # Statistics move every night; they are declared volatile.
    stamp_statistics(w, "2026-11-03T01:00:00Z", 1_911)
    story.batch("warehouse", "2026-11-03T01:00:00Z", "run-0002", "full", w,
                "The next night only the statistics differ. They are declared volatile: no update.", expect="no changes")

    key = ("entity", *table_of("logistics", "stock_levels"))
    w[key]["attributes"]["description"] = "Pieces on the shelf, counted every hour.\nNot for valuation: finance uses the monthly inventory."
    spec = ("Gift cards sold and what is left on them", 12_004, """
            card_id bigint! Number on the card
            sold_in_order_id bigint>orders The order that it was sold in
            issued_at timestamptz When it was activated
            value_amount numeric(8,2) Value when sold in euro
            balance_amount numeric(8,2) What is left in euro
            expires_on date Last day of use""")
    before = set(w)
    SCHEMAS["sales"][2]["gift_cards"] = spec
    add_table(w, "sales", "gift_cards", spec, "sales-platform")
    del SCHEMAS["sales"][2]["gift_cards"]
    new = {k: w[k] for k in w if k not in before}
    new[key] = w[key]
    story.batch("warehouse", "2026-11-03T09:15:00Z", "inc-0001", "incremental", copy.deepcopy(new),
                "An incremental batch: the gift card tables went live, and somebody wrote down what stock_levels is not for.")

    rename_owner(w, f"{WAREHOUSE}.marketing", "customer-insights")
    story.batch("warehouse", "2026-11-04T01:00:00Z", "run-0003", "full", copy.deepcopy(w),
                "Marketing's data moved to another team. The plan groups the same change on every column into one line.")

    for name in ("stg_campaigns",):
        d[("entity", "dbt_model", f"halden_analytics.{name}")]["attributes"]["tags"] = ["staging", "marketing"]
    me = ("dbt_model", "halden_analytics.mart_campaigns")
    add(d, entity(*me, name="mart_campaigns", description="Cost and revenue of each campaign", layer="marts",
                  owner="analytics-engineering", materialized="table", tags=["marts"]))
    add(d, edge("dbt_project_contents", ("dbt_project", "halden_analytics"), me))
    add(d, edge("lineage", ("dbt_model", "halden_analytics.stg_campaigns"), me, kind="ref"))
    add(d, edge("lineage", ("dbt_model", "halden_analytics.fct_orders"), me, kind="ref"))
    story.batch("dbt", "2026-11-04T02:00:00Z", "run-0002", "full", copy.deepcopy(d),
                "A new model with its lineage, and one tag more on another.")

    gone = [k for k in w if "marketing.web_sessions" in json.dumps(k)]
    for k in gone:
        del w[k]
    story.batch("warehouse", "2026-11-05T01:00:00Z", "run-0004", "full", copy.deepcopy(w),
                "web_sessions moved out of the warehouse: the table, its columns and its relationships go. Few enough that no guard trips.")

    late = {}
    key = ("entity", *table_of("sales", "stores"))
    late[key] = copy.deepcopy(w[key])
    late[key]["attributes"]["description"] = "Stores and the web shop, without pop-ups"
    popups = entity("rdbms_view", f"{WAREHOUSE}.sales.popup_stores", name="popup_stores", description="Pop-up stores of the season", owner="sales-platform")
    late[popups[0]] = popups[1]
    key = ("entity", *table_of("marketing", "web_sessions"))
    late[key] = warehouse()[key]
    story.batch("warehouse", "2026-11-04T16:40:00Z", "inc-0002", "incremental", late,
                "A late batch, extracted before the last full one. That one listed neither the view nor web_sessions, and has a newer word on stores: nothing of the late batch counts.",
                expect="no changes")

    b[("entity", "bi_dashboard", "halden/returns-monitor")]["attributes"]["status"] = "certified"
    del b[("edge", "lineage", ("dbt_model", "halden_analytics.fct_orders"), ("bi_dataset", "halden/delivery-performance/data"), "")]
    add(b, edge("lineage", ("dbt_model", "halden_analytics.stg_shipments"), ("bi_dataset", "halden/delivery-performance/data"), kind="reads"))
    story.batch("bi", "2026-11-05T01:30:00Z", "run-0002", "full", copy.deepcopy(b),
                "Delivery performance reads another model now: one relationship goes, another comes. The returns monitor was certified.")

    bad = '{"type":"rdbms_table","qualified_name":"halden_dw.finance.budgets","attributes":{"name":"budgets","owner":"finance-systems","owner":"finance-planning"}}'
    fixed = {k: copy.deepcopy(w[k]) for k in [("entity", *table_of("finance", name)) for name in ("accounts", "invoices")]}
    for line in fixed.values():
        line["attributes"]["tags"] = ["gold", "audited"]
    for k, line in fixed.items():
        w[k] = copy.deepcopy(line)
    story.batch("warehouse", "2026-11-05T11:20:00Z", "inc-0003", "incremental", fixed,
                "One line of this batch names an attribute twice. It becomes a dead letter with its bytes and the reason; the other two entities are published.",
                expect="partial", raw=[bad])

    half = {k: v for k, v in w.items() if ".sales" in json.dumps(k) or k[1] == "rdbms_db"}
    story.batch("warehouse", "2026-11-06T01:00:00Z", "run-0005", "full", copy.deepcopy(half),
                "The extraction lost its connection after the first schema and still called its batch full. The guards park the plan; the operator looks at the deletions and rejects it.",
                expect="parked-then-rejected")

    stamp_statistics(w, "2026-11-06T03:00:00Z", 2_204)
    story.batch("warehouse", "2026-11-06T03:00:00Z", "run-0006", "full", copy.deepcopy(w),
                "The repeated extraction is whole. Nothing was lost in between, so there is nothing to repair. It also settles the warehouse's dead letter.",
                expect="no changes")

    absent = [("entity", "dbt_test", "halden_analytics.freshness_stg_shipments"),
              ("edge", "dbt_model_tests", ("dbt_model", "halden_analytics.stg_shipments"), ("dbt_test", "halden_analytics.freshness_stg_shipments"), "")]
    for k in absent:
        del d[k]
    key = ("entity", "dbt_model", "halden_analytics.mart_revenue_daily")
    d[key]["attributes"]["description"] = ("Revenue, margin and orders by day, store and channel.\n"
                                          "Revenue counts on the day of payment, not of the order.\n"
                                          "Returns are taken off on the day the parcel arrives.")
    story.batch("dbt", "2026-11-06T09:00:00Z", "inc-0001", "incremental", {key: copy.deepcopy(d[key])},
                "dbt says more about daily revenue, over the BI tool's own description, and drops a test.", absent=absent)

    slow = {k: v for k, v in b.items() if "stock-health" in json.dumps(k)}
    for k in slow:
        line = b[k]
        if k[0] == "entity" and k[1] == "bi_chart":
            line["attributes"]["visual"] = "bar"
    bad = '{"type":"bi_chart","qualified_name":"halden/stock-health/slow-movers","attributes":"{\\"name\\":\\"Slow movers\\",\\"visual\\":\\"table\\"}"}'
    story.batch("bi", "2026-11-06T10:00:00Z", "run-0003", "full", copy.deepcopy({k: b[k] for k in slow if k[2] != "halden" }),
                "A full batch of a narrower scope: it speaks of one dashboard, and nothing else of the BI tool is touched. A new chart has its attributes as a text: its dead letter stays open, to be looked at and repaired.",
                scope={"types": ["*"], "names": ["halden/stock-health*"], "except": []}, expect="partial", raw=[bad])
    return story


def fold(story):
    """The newest assertion of each key, then what shows: the rules, naively."""
    import fnmatch
    live = {}
    for source, time, run, mode, lines, absent in sorted(story.asserted, key=lambda a: (a[1], a[2])):
        own = live.setdefault(source, {})
        if mode == "full":
            names = ["halden/stock-health*"] if (source, run) == ("bi", "run-0003") else ["*"]
            for key in [k for k in own if k not in lines]:
                name = key[2] if key[0] == "entity" else key[2][1]
                if any(fnmatch.fnmatchcase(name, glob) for glob in names):
                    del own[key]
        own.update(lines)
        for key in absent:
            own.pop(key, None)
    keys = {key for own in live.values() for key in own}
    entities = {(k[1], k[2]) for k in keys if k[0] == "entity"}
    shown = [k for k in keys if k[0] == "entity" or (k[2] in entities and k[3] in entities)]
    counts = {}
    for key in shown:
        counts[key[1]] = counts.get(key[1], 0) + 1
    return dict(sorted(counts.items()))


def main():
    story = tell()
    files = {f"batches/{name}": text for name, text in story.files.items()}
    files["story.json"] = json.dumps(story.steps, indent=1, ensure_ascii=False) + "\n"
    files["expected.json"] = json.dumps(fold(story), indent=1) + "\n"
    if "--check" in sys.argv:
        wrong = [name for name, text in files.items() if not (HERE / name).exists() or (HERE / name).read_text() != text]
        extra = {str(p.relative_to(HERE)) for p in (HERE / "batches").rglob("*") if p.is_file()} - set(files)
        if wrong or extra:
            sys.exit(f"not as make.py makes it: {wrong + sorted(extra)}")
        print(f"{len(files)} files are as make.py makes them")
        return
    for name, text in files.items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{len(story.steps)} batches, {len(files)} files")


main()
