//! Invented names. The parts are chosen to look right in the list and to belong to nobody: a place that is on no map
//! and a trade, a made-up foreign-looking word, or a full-width Latin one.

use super::class::{Industry, Segment};
use crate::hash::Dice;

const FIRST_KANJI: [&str; 36] = [
    "霧", "楓", "鴎", "碧", "琥", "朧", "暁", "茜", "雫", "梟", "萌", "渚", "霞", "翠", "曙", "虹", "蛍",
    "柊", "椿", "雁", "鷺", "鵬", "麒", "瑠", "玻", "蒼", "凪", "稲", "樺", "楠", "榊", "槙", "欅", "橘",
    "櫂", "濤",
];
const SECOND_KANJI: [&str; 32] = [
    "ヶ淵",
    "ノ瀬",
    "峯",
    "嶺",
    "汀",
    "郷",
    "渓",
    "洲",
    "礁",
    "苑",
    "峠",
    "岬",
    "麓",
    "潟",
    "浜",
    "野辺",
    "雲",
    "砂",
    "橋本町",
    "ヶ森",
    "ノ宮",
    "霜",
    "舟",
    "帆",
    "灯",
    "笛",
    "鏡",
    "泉",
    "陵",
    "堤",
    "澪",
    "杜",
];
const SYLLABLES: [&str; 40] = [
    "ア", "ヴェ", "オル", "カ", "ギ", "クレ", "ザ", "シェ", "ソ", "ティ", "トゥ", "ナ", "ニュ", "ネ", "ノ",
    "ハ", "ビ", "フェ", "ベ", "ポ", "マ", "ミュ", "メ", "モ", "ヤ", "ユ", "ラ", "リ", "ルー", "レ", "ロ",
    "ワ", "ズ", "ドゥ", "グリ", "プラ", "テ", "サ", "キ", "ヒュ",
];
const WORD_ENDS: [&str; 10] = ["ン", "ス", "ックス", "リア", "ード", "ノ", "ニク", "ーラ", "ント", "オン"];
const LATIN: [&str; 20] = [
    "Ｖｅ",
    "Ｑｕｏ",
    "Ｚａｎ",
    "Ｎｉｒ",
    "Ｏｒｂ",
    "Ｌｕｍ",
    "Ｔａｖ",
    "Ｋｅｓ",
    "Ｙｏｒ",
    "Ｆｅｎ",
    "Ｇａｌ",
    "Ｈｅｘ",
    "Ｉｒｕ",
    "Ｊｏｖ",
    "Ｍｅｒ",
    "Ｐｙｘ",
    "Ｒｉｎ",
    "Ｓｏｌ",
    "Ｕｌｔ",
    "Ｗｅｌ",
];
const LATIN_ENDS: [&str; 8] = ["ａｒａ", "ｉｘ", "ｏｎｅｔ", "ｕｍｏ", "ｅｌｌ", "ｉｑ", "ａｓｅ", "ｏｒ"];
const INDEXES: [&str; 8] = [
    "国内株式",
    "高配当",
    "先進国債券",
    "新興国株式",
    "金価格",
    "原油先物",
    "グローバルＲＥＩＴ",
    "短期国債",
];
const FUND_KINDS: [&str; 6] =
    ["連動型", "ダブルブル", "インバース", "（年１回決算型）", "ヘッジあり", "コア"];
const TRUSTS: [&str; 4] =
    ["リート投資法人", "レジデンシャル投資法人", "ロジスティクス投資法人", "インフラ投資法人"];
const FOREIGN_ENDS: [&str; 4] =
    ["・インク", "・コーポレーション", "・リミテッド\u{3000}ＪＤＲ", "・ホールディングス・リミテッド"];

/// One name; the same parts may come up twice, so the caller looks for that.
pub(super) fn invented(dice: &mut Dice, segment: Segment, industry: Option<Industry>) -> String {
    match segment {
        Segment::Etf => {
            let house = latin(dice);
            format!("{house}\u{3000}{}{}上場投信", dice.pick(&INDEXES), dice.pick(&FUND_KINDS))
        }
        Segment::Reit => format!("{}{}", place(dice), dice.pick(&TRUSTS)),
        Segment::Contribution => format!("{}金庫\u{3000}出資証券", place(dice)),
        foreign if foreign.is_foreign() => format!("{}{}", word(dice), dice.pick(&FOREIGN_ENDS)),
        _ => company(dice, industry),
    }
}

fn company(dice: &mut Dice, industry: Option<Industry>) -> String {
    let trade = industry.map_or("", |industry| dice.pick(&industry.name_endings()));
    match dice.roll().below(20) {
        0..10 => format!("{}{trade}", place(dice)),
        10..13 => format!("{}{trade}", word(dice)),
        13..15 => word(dice),
        15..17 => format!("{}ホールディングス", word(dice)),
        17 => format!("{}{trade}ホールディングス", place(dice)),
        18 => format!("{}\u{3000}{}", latin(dice), latin(dice)),
        _ => format!("{}ホールディングス", latin(dice)),
    }
}

fn place(dice: &mut Dice) -> String {
    format!("{}{}", dice.pick(&FIRST_KANJI), dice.pick(&SECOND_KANJI))
}

fn word(dice: &mut Dice) -> String {
    let syllables = 2 + dice.roll().below(2);
    let mut word: String = (0..syllables).map(|_| dice.pick(&SYLLABLES)).collect();
    word.push_str(dice.pick(&WORD_ENDS));
    word
}

fn latin(dice: &mut Dice) -> String {
    format!("{}{}", dice.pick(&LATIN), dice.pick(&LATIN_ENDS))
}
