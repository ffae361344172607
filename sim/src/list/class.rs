//! Market segments, industries and size classes, with the exchange's names.

/// Market segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    Prime,
    Standard,
    Growth,
    Etf,
    Pro,
    Reit,
    PrimeForeign,
    StandardForeign,
    GrowthForeign,
    Contribution,
}

/// Every segment with its count on the list that the crate carries.
pub(super) const SEGMENTS: [(Segment, usize); 10] = [
    (Segment::Prime, 1_599),
    (Segment::Standard, 1_562),
    (Segment::Growth, 608),
    (Segment::Etf, 431),
    (Segment::Pro, 163),
    (Segment::Reit, 63),
    (Segment::PrimeForeign, 1),
    (Segment::StandardForeign, 2),
    (Segment::GrowthForeign, 2),
    (Segment::Contribution, 2),
];

impl Segment {
    /// The name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prime => "プライム（内国株式）",
            Self::Standard => "スタンダード（内国株式）",
            Self::Growth => "グロース（内国株式）",
            Self::Etf => "ETF・ETN",
            Self::Pro => "PRO Market",
            Self::Reit => "REIT・ベンチャーファンド・カントリーファンド・インフラファンド",
            Self::PrimeForeign => "プライム（外国株式）",
            Self::StandardForeign => "スタンダード（外国株式）",
            Self::GrowthForeign => "グロース（外国株式）",
            Self::Contribution => "出資証券",
        }
    }

    pub(super) fn is_foreign(self) -> bool {
        matches!(self, Self::PrimeForeign | Self::StandardForeign | Self::GrowthForeign)
    }

    pub(super) fn has_industry(self) -> bool {
        !matches!(self, Self::Etf | Self::Reit | Self::Contribution)
    }
}

/// Size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Core30,
    Large70,
    Mid400,
    Small1,
    Small2,
}

impl Scale {
    /// Code and name in the file.
    pub(crate) fn code_and_name(self) -> (u32, &'static str) {
        match self {
            Self::Core30 => (1, "TOPIX Core30"),
            Self::Large70 => (2, "TOPIX Large70"),
            Self::Mid400 => (4, "TOPIX Mid400"),
            Self::Small1 => (6, "TOPIX Small 1"),
            Self::Small2 => (7, "TOPIX Small 2"),
        }
    }
}

/// One of the 33 industries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Industry(usize);

/// Code and name of 33, of 17, companies in a thousand, and how their invented names end.
type IndustryRow = (u32, &'static str, u32, &'static str, u32, [&'static str; 3]);

const INDUSTRIES: [IndustryRow; 33] = [
    (50, "水産・農林業", 1, "食品", 3, ["水産", "漁業", "農園"]),
    (1050, "鉱業", 2, "エネルギー資源", 1, ["鉱業", "資源開発", "砿山"]),
    (2050, "建設業", 3, "建設・資材", 41, ["建設", "工務店", "設備工業"]),
    (3050, "食料品", 1, "食品", 32, ["食品", "製菓", "醸造"]),
    (3100, "繊維製品", 4, "素材・化学", 12, ["紡績", "繊維", "織物"]),
    (3150, "パルプ・紙", 4, "素材・化学", 6, ["製紙", "紙業", "パルプ"]),
    (3200, "化学", 4, "素材・化学", 52, ["化学", "化成", "塗料"]),
    (3250, "医薬品", 5, "医薬品", 20, ["製薬", "薬品", "ファーマ"]),
    (3300, "石油・石炭製品", 2, "エネルギー資源", 3, ["石油", "興産", "潤滑油"]),
    (3350, "ゴム製品", 6, "自動車・輸送機", 5, ["ゴム", "護謨工業", "ラバー"]),
    (3400, "ガラス・土石製品", 3, "建設・資材", 13, ["硝子", "セメント", "窯業"]),
    (3450, "鉄鋼", 7, "鉄鋼・非鉄", 10, ["製鋼", "鉄工", "特殊鋼"]),
    (3500, "非鉄金属", 7, "鉄鋼・非鉄", 8, ["金属", "電線", "アルミ"]),
    (3550, "金属製品", 3, "建設・資材", 22, ["金属工業", "製缶", "螺子製作所"]),
    (3600, "機械", 8, "機械", 55, ["機械", "工作機", "精機"]),
    (3650, "電気機器", 9, "電機・精密", 59, ["電機", "電子", "電装"]),
    (3700, "輸送用機器", 6, "自動車・輸送機", 22, ["車輛", "自動車部品", "造船"]),
    (3750, "精密機器", 9, "電機・精密", 13, ["光学", "計器", "時計"]),
    (3800, "その他製品", 10, "情報通信・サービスその他", 27, ["印刷", "楽器", "玩具"]),
    (4050, "電気・ガス業", 11, "電力・ガス", 7, ["電力", "ガス", "エナジー"]),
    (5050, "陸運業", 12, "運輸・物流", 15, ["電鉄", "運輸", "通運"]),
    (5100, "海運業", 12, "運輸・物流", 3, ["海運", "汽船", "船舶"]),
    (5150, "空運業", 12, "運輸・物流", 1, ["航空", "エアライン", "空輸"]),
    (5200, "倉庫・運輸関連業", 12, "運輸・物流", 8, ["倉庫", "埠頭", "港運"]),
    (5250, "情報・通信業", 10, "情報通信・サービスその他", 159, ["情報システム", "ソフト", "データ"]),
    (6050, "卸売業", 13, "商社・卸売", 77, ["商事", "物産", "通商"]),
    (6100, "小売業", 14, "小売", 88, ["百貨店", "ストア", "薬局"]),
    (7050, "銀行業", 15, "銀行", 20, ["銀行", "信託銀行", "フィナンシャル"]),
    (7100, "証券、商品先物取引業", 16, "金融（除く銀行）", 10, ["証券", "先物", "アセット"]),
    (7150, "保険業", 16, "金融（除く銀行）", 4, ["生命保険", "損害保険", "火災海上保険"]),
    (7200, "その他金融業", 16, "金融（除く銀行）", 10, ["リース", "信販", "クレジット"]),
    (8050, "不動産業", 17, "不動産", 39, ["地所", "不動産", "都市開発"]),
    (9050, "サービス業", 10, "情報通信・サービスその他", 146, ["サービス", "警備保障", "人材"]),
];

impl Industry {
    /// The industry that a draw of 0 to 1 falls on, by how many companies each has.
    pub(super) fn drawn(draw: f64) -> Self {
        let total: u32 = INDUSTRIES.iter().map(|row| row.4).sum();
        let mut left = (draw * f64::from(total)) as u32;
        let found = INDUSTRIES.iter().position(|row| {
            let here = left < row.4;
            left = left.saturating_sub(row.4);
            here
        });
        Self(found.unwrap_or(INDUSTRIES.len() - 1))
    }

    /// Code and name among the 33.
    pub(crate) fn of_33(self) -> (u32, &'static str) {
        (INDUSTRIES[self.0].0, INDUSTRIES[self.0].1)
    }

    /// Code and name among the 17.
    pub(crate) fn of_17(self) -> (u32, &'static str) {
        (INDUSTRIES[self.0].2, INDUSTRIES[self.0].3)
    }

    pub(super) fn name_endings(self) -> [&'static str; 3] {
        INDUSTRIES[self.0].5
    }
}
